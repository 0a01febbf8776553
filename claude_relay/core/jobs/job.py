"""A job: one prompt on its way to Claude, as a value. How it moves is in `machine`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum

#: Words that name a family of models; limits are pooled upstream by family.
_FAMILIES = ("opus", "sonnet", "haiku", "fable", "mythos")


class State(str, Enum):
    """Where a job stands. `status` on the wire has the four words of `wire.STATUS` instead."""

    QUEUED = "queued"  # waits for its time, a slot, its group or its family
    RUNNING = "running"  # a worker holds its lease
    BATCHED = "batched"  # belongs to a batch, which is about to be sent or is with Anthropic
    HELD = "held"  # waits until someone retries it
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the run is over and has an outcome."""
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


class OnInterrupt(str, Enum):
    """What a crash in mid-call means for the job."""

    RETRY = "retry"
    PARTIAL = "partial"
    HOLD = "hold"


class Retain(str, Enum):
    """What is kept once the outcome is delivered."""

    FULL = "full"
    METADATA = "metadata"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A worker's dated claim. The token fences: a write that does not carry the present one is refused."""

    worker: str
    token: str
    expires_at: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """
    The hot row: what claiming, sweeping, status and lists read. Prompts and answers are elsewhere.

    Times are seconds since 1970; `None` where something has not happened.
    """

    id: str
    owner: str
    request_id: str
    body_hash: str
    state: State
    version: int
    created_at: float
    updated_at: float

    due_at: float
    priority: float = 0.0
    group: str = "default"
    model: str = ""
    fallbacks: tuple[str, ...] = ()  # models to turn to, in this order, where it cannot answer
    mode: str = "live"  # as it was asked for
    lane: str = "live"  # the road it takes now: live, or batch
    give_up_at: float | None = None  # from then on a batch is too slow for it: it goes live (mode auto)
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    retain: Retain = Retain.FULL
    deadline_at: float | None = None
    deadline_asked: bool = False
    deadline_fixed: bool = False  # asked for as a point in time: it stays when the calendar is set
    run_at: float | None = None  # such a start
    has_webhook: bool = False

    run: int = 1
    run_started_at: float = 0.0
    calls: int = 0  # entries in the ledger, all runs together; the number of the present one
    attempt: int = 0  # tries of this run that count, the present one included
    failures: int = 0  # against RELAY_CALL_ATTEMPTS
    interruptions: int = 0  # against RELAY_INTERRUPTED_ATTEMPTS
    unsent: int = 0  # workers that died holding it before anything was sent: only slows it down
    ambiguous: bool = False  # something sent in this run was not seen to its end: it may have been paid for

    lease: Lease | None = None
    sent: bool = False  # the present call's first byte has gone out
    cancel_requested_at: float | None = None

    waiting_for: str | None = None  # why a queued job backs off, or why it is held
    finished_at: float | None = None
    error_type: str | None = None
    error: str | None = None
    prompt_length: int = 0
    response_length: int = 0
    usage: dict[str, int] | None = None
    cost_usd: float | None = None

    @property
    def rank(self) -> float:
        """The order of claiming: by due time, less the head start that was asked for."""
        return self.due_at - self.priority

    @property
    def family(self) -> str:
        """The family whose rate limit this job draws on."""
        return family_of(self.model)


@functools.lru_cache(maxsize=256)
def family_of(model: str) -> str:
    """`claude-opus-5-5` belongs to `opus`; a name without a known word is a family of its own."""
    return next((word for word in _FAMILIES if word in model), model)
