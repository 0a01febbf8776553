"""What a move asks to be written: one value, saved in one transaction or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..deliveries.delivery import Delivery
from .job import Job


@dataclass(frozen=True, kw_only=True)
class Call:
    """One entry in the ledger: one try at the Claude call, written before its first byte goes out."""

    job_id: str
    number: int
    run: int
    started_at: float
    worker: str
    model: str = ""
    mode: str = "live"  # live, or batch
    first_byte_at: float | None = None  # the first of an answer was there
    ended_at: float | None = None
    sent: bool = False
    upstream_request_id: str | None = None
    outcome: str | None = None  # None while it runs
    detail: str | None = None
    usage: dict[str, int] | None = None
    cost_usd: float | None = None
    text_length: int = 0
    reserved_usd: float | None = None  # set aside while it runs, where its key has a daily budget


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: the callback's body, whole and frozen, and the answer it was made of."""

    job_id: str
    run: int
    at: float
    status: str
    body: bytes = field(repr=False)
    blocks: list[dict[str, Any]] | None = field(default=None, repr=False)  # where the text alone does not say it


@dataclass(frozen=True, kw_only=True)
class Event:
    """One move, for the timeline: `subject` is the job or one of its deliveries, `version` that subject's."""

    job_id: str
    subject: str
    version: int
    at: float
    name: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Change:
    """
    A job's next version and all that goes with it.

    `expects` is the version it was decided on: saving is refused when the row has moved since.
    """

    job: Job
    expects: int
    event: Event
    before: Job | None = None  # what it was decided on; None: it is new
    call: Call | None = None
    next_call: Call | None = None  # the entry that is opened as `call` ends
    outcome: Outcome | None = None
    delivery: Delivery | None = None

    @property
    def ready_now(self) -> bool:
        """Whether a worker should hear of it: it waits for nothing but a slot."""
        return self.job.state == "queued" and self.job.due_at <= self.event.at


def with_warning(change: Change, text: str) -> Change:
    """The same move, with a warning for the callback of this run."""
    return replace(change, event=replace(change.event, detail={**change.event.detail, "warning": text}))


def transition(job: Job, name: str, *, now: float, detail: dict[str, Any] | None = None, **fields: Any) -> Change:
    """The one way to a job's next version."""
    moved = replace(job, version=job.version + 1, updated_at=now, **fields)
    event = Event(job_id=job.id, subject="job", version=moved.version, at=now, name=name, detail=detail or {})

    return Change(job=moved, expects=job.version, event=event, before=job)
