"""A transition as one value, saved in one transaction or not at all."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from ..lazy_dataclass import dataclass
from .events import Event, EventName
from .job import Job, State

if TYPE_CHECKING:
    from ..deliveries.delivery import Delivery
    from .failure import PartialResponse

#: The outcome of a call that ended before anything of it was sent, and that no attempt was counted for.
RELEASED = "released"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One entry in the ledger: one attempt at the Claude call, written before its first byte is sent."""

    job_id: str
    number: int
    run: int
    started_at: float
    worker: str
    model: str = ""
    mode: str = "live"  # live, or batch
    first_byte_at: float | None = None  # the first byte of an answer arrived
    ended_at: float | None = None
    sent: bool = False
    upstream_request_id: str | None = None
    outcome: str | None = None  # None while it runs
    detail: str | None = None
    usage: dict[str, int] | None = None
    cost_usd: float | None = None
    text_length: int = 0
    reserved_usd: float | None = None  # reserved while it runs, where its key has a daily budget


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a run: the complete, frozen body of the callback, and the answer it was made of."""

    job_id: str
    run: int
    at: float
    status: str
    body: bytes = field(repr=False)
    blocks: list[dict[str, Any]] | None = field(default=None, repr=False)  # where the text alone is not the answer


@dataclass(frozen=True, kw_only=True)
class Change:
    """
    A job's next version with its event, ledger entries, outcome and delivery.

    `expects` is the version it was decided on: saving is refused when the row has moved since.
    """

    job: Job
    expects: int
    event: Event
    previous: Job | None = None  # the version it was decided on; None for a new job
    call: Call | None = None
    next_call: Call | None = None  # the entry that is opened as `call` ends
    outcome: Outcome | None = None
    delivery: Delivery | None = None

    @property
    def ready_now(self) -> bool:
        """Whether workers should be notified: the job waits for nothing but a slot."""
        return self.job.state is State.QUEUED and self.job.due_at <= self.event.at


@dataclass(frozen=True, kw_only=True)
class SentMark:
    """
    The mark that a call's first byte is about to be sent.

    From here on it may have to be paid for.

    Saved only while `token` is the job's lease. It moves no version and has no event, as it is written for every call.
    """

    job_id: str
    call_number: int
    token: str


def with_warning(change: Change, text: str) -> Change:
    """The same transition, with a warning for the callback of this run."""
    return replace(change, event=replace(change.event, detail={**change.event.detail, "warning": text}))


def with_partial(change: Change, partial: PartialResponse) -> Change:
    """
    The end of a run whose last attempt brought no text.

    The text and tokens of an earlier attempt count for it.
    """
    job = replace(change.job, response_length=len(partial.text), usage=change.job.usage or partial.usage)

    return replace(change, job=job)


def transition(job: Job, name: EventName, *, now: float, detail: dict[str, Any] | None = None, **fields: Any) -> Change:
    """The only way to a job's next version."""
    updated = replace(job, version=job.version + 1, updated_at=now, **fields)
    event = Event(job_id=job.id, subject="job", version=updated.version, at=now, name=name, detail=detail or {})

    return Change(job=updated, expects=job.version, event=event, previous=job)
