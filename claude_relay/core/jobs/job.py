"""A job: one prompt to be answered by Claude, as a value. Its transitions are in `transitions.py`."""

from __future__ import annotations

import functools
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..lazy_dataclass import dataclass
from .fairness import Flow

if TYPE_CHECKING:
    from .failure import ErrorType

#: Words in model names; rate limits are shared upstream by all models of a family.
_FAMILIES = ("opus", "sonnet", "haiku", "fable", "mythos")


class State(str, Enum):
    """The state of a job. `status` on the wire has the four words of `wire.STATUS` instead."""

    QUEUED = "queued"  # waits for its time, a slot, its group or its family
    RUNNING = "running"  # a worker holds its lease
    BATCHED = "batched"  # in a batch, which is about to be sent or is with Anthropic
    HELD = "held"  # waits until it is retried by a user
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    COLLECTION = "collection"  # no call: it carries the callback of a collection, and is not listed

    @property
    def final(self) -> bool:
        """Whether the run is over and has an outcome."""
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


#: The states of a job that has not ended.
UNFINISHED = tuple(state for state in State if not state.final and state is not State.COLLECTION)
#: The states of a job that makes a call.
JOB_STATES = tuple(state for state in State if state is not State.COLLECTION)


class OnInterrupt(str, Enum):
    """The consequence of a crash during the call."""

    RETRY = "retry"
    PARTIAL = "partial"
    HOLD = "hold"


class Retain(str, Enum):
    """The data that is kept once the outcome is delivered."""

    FULL = "full"
    METADATA = "metadata"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A claim with an expiry. The token fences: a write without the present token is refused."""

    worker: str
    token: str
    expires_at: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """
    The row that claiming, sweeps, status and lists read. Prompts and answers are in other tables.

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
    fallbacks: tuple[str, ...] = ()  # models to ask instead, in this order
    mode: str = "live"  # as submitted
    lane: str = "live"  # live, or batch: the present choice for mode auto
    give_up_at: float | None = None  # from then on a batch is too slow: it is called live (mode auto)
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    retain: Retain = Retain.FULL
    deadline_at: float | None = None
    deadline_asked: bool = False
    deadline_fixed: bool = False  # submitted as a point in time: it stays when the clock is set
    run_at: float | None = None  # the start, where it was submitted as a point in time
    has_webhook: bool = False

    run: int = 1
    run_started_at: float = 0.0
    calls: int = 0  # ledger entries of all runs; the number of the present one
    attempt: int = 0  # attempts of this run that count, the present one included
    failures: int = 0  # against RELAY_CALL_ATTEMPTS
    interruptions: int = 0  # against RELAY_INTERRUPTED_ATTEMPTS
    unsent: int = 0  # workers that died with it before anything was sent: only slows it down
    ambiguous: bool = False  # a call of this run was sent and its end not seen: it may have to be paid for

    lease: Lease | None = None
    sent: bool = False  # the present call's first byte was sent
    cancel_requested_at: float | None = None

    waiting_for: str | None = None  # why a queued job backs off, or why it is held: for display
    waiting_error: ErrorType | None = None  # the error behind it: for decisions
    finished_at: float | None = None
    error_type: str | None = None
    error: str | None = None
    prompt_length: int = 0
    response_length: int = 0
    usage: dict[str, int] | None = None
    cost_usd: float | None = None
    checks: tuple[dict[str, Any], ...] | None = field(default=None, repr=False)  # once the run has an answer
    template: str | None = None  # the version that its body was made of, such as invoice@3
    collection: str | None = None  # the internal id of the collection that it is a row of
    row: int | None = None  # its number there, from 1

    @property
    def rank(self) -> float:
        """The order of claiming: the due time less the priority's head start."""
        return self.due_at - self.priority

    @property
    def family(self) -> str:
        """The model family whose rate limit applies to this job."""
        return family_of(self.model)

    @property
    def flow(self) -> Flow:
        """The flow of the queue that this job waits in."""
        return Flow(owner=self.owner, collection=self.collection or "", group=self.group, family=self.family)


#: The fields of a job that does not back off.
NOT_WAITING: dict[str, Any] = {"waiting_for": None, "waiting_error": None}


@functools.lru_cache(maxsize=256)
def family_of(model: str) -> str:
    """The family of a model: `claude-opus-5-5` is `opus`; a name without such a word is a family of its own."""
    return next((word for word in _FAMILIES if word in model), model)
