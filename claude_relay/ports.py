"""What the house asks of the world outside: Protocols only. `wiring` says who answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from .core.change import Call, Change, Event, Outcome
from .core.delivery import Delivery, Reply
from .core.failure import Completion, Failure, Partial
from .core.job import Job, State
from .core.submission import Request

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Group:
    """What one group shares: None means no limit. `next_at` paces its rate: not before this time."""

    name: str
    concurrency: int | None = None
    rate: float | None = None  # jobs a minute
    paused_at: float | None = None
    next_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Why a part of the queue stands still: `scope` is `queue` or `family:opus`, until `until` (None: until told)."""

    scope: str
    reason: str
    since: float
    until: float | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerSeen:
    """A worker's sign of life."""

    id: str
    host: str
    pid: int
    started_at: float
    seen_at: float
    slots: int
    running: int


@dataclass(frozen=True, kw_only=True)
class Posted:
    """One POST that was made for a delivery."""

    delivery_id: str
    number: int
    at: float
    url: str = field(repr=False)
    reply: Reply


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs to list, newest first. `before` is the last id of the page before (a keyset, never an offset)."""

    owner: str | None = None  # None: every owner's
    states: Collection[State] = ()
    group: str | None = None
    since: float | None = None
    text: str | None = None  # in prompt, answer, requestId
    dead: bool = False  # whose delivery is dead
    unacked: bool = False
    host: str | None = None  # whose delivery goes to that destination or host
    before: str | None = None
    limit: int = 50


class View(Protocol):
    """A consistent look at the rows."""

    @property
    def now(self) -> float: ...
    def job(self, job_id: str) -> Job | None: ...
    def find(self, request_id: str, owner: str | None) -> Sequence[Job]: ...
    def request(self, job_id: str) -> Request | None: ...
    def outcome(self, job_id: str, run: int) -> Outcome | None: ...
    def partial(self, job_id: str) -> Partial | None: ...
    def jobs(self, which: JobFilter) -> Sequence[Job]: ...
    def due(
        self, *, limit: int, skip_groups: Collection[str] = (), skip_families: Collection[str] = ()
    ) -> Sequence[Job]: ...
    def next_due(self) -> float | None: ...
    def running(self) -> Sequence[Job]: ...
    def running_by_group(self) -> dict[str, int]: ...
    def overdue(self, *, limit: int) -> Sequence[Job]: ...
    def waiting(self) -> int: ...
    def ahead(self, job: Job) -> int: ...
    def counts(self) -> dict[State, int]: ...
    def oldest_waiting(self) -> float | None: ...
    def cancel_requested(self, worker: str) -> Sequence[str]: ...
    def call(self, job_id: str, number: int) -> Call | None: ...
    def calls(self, job_id: str) -> Sequence[Call]: ...
    def delivery(self, job_id: str) -> Delivery | None: ...
    def delivery_by_id(self, delivery_id: str) -> Delivery | None: ...
    def delivery_body(self, delivery: Delivery) -> bytes: ...
    def due_deliveries(
        self, *, limit: int, per_destination: int, skip_destinations: Collection[str] = ()
    ) -> Sequence[Delivery]: ...
    def sending(self) -> Sequence[Delivery]: ...
    def posts(self, job_id: str) -> Sequence[Posted]: ...
    def events(self, job_id: str) -> Sequence[Event]: ...
    def events_after(
        self, cursor: int | None, *, limit: int, owner: str | None = None
    ) -> tuple[Sequence[tuple[int, str, Event]], int]: ...
    def group(self, name: str) -> Group: ...
    def groups(self) -> Sequence[Group]: ...
    def holds(self) -> Sequence[Hold]: ...
    def workers(self) -> Sequence[WorkerSeen]: ...
    def memo(self, key: str) -> Any: ...


class Unit(View, Protocol):
    """One transaction. What it wrote is there for all, or for nobody."""

    def add(self, change: Change, request: Request) -> None: ...
    def save(self, change: Change) -> None: ...
    def mark_sent(self, job_id: str, token: str) -> bool: ...
    def checkpoint(self, job: Job, number: int, partial: Partial) -> None: ...
    def renew(self, worker: str, expires_at: float) -> Sequence[tuple[str, str]]: ...
    def save_delivery(self, delivery: Delivery, expects: int, event: Event, posted: Posted | None = None) -> None: ...
    def renew_deliveries(self, worker: str, expires_at: float) -> None: ...
    def save_group(self, group: Group) -> None: ...
    def save_hold(self, hold: Hold) -> None: ...
    def drop_hold(self, scope: str) -> Hold | None: ...
    def postpone_deadlines(self, *, since: float, group: str | None = None) -> None: ...
    def seen(self, worker: WorkerSeen) -> None: ...
    def gone(self, worker_id: str) -> None: ...
    def remember(self, key: str, value: Any) -> None: ...
    def purge(self, *, done_before: float, failed_before: float, limit: int) -> int: ...


class Store(Protocol):
    """Where the jobs are: rows, no rules. Functions given to it may run again, so they have no effects of their own."""

    def write(self, work: Callable[[Unit], T]) -> T: ...
    def read(self, look: Callable[[View], T]) -> T: ...
    def check(self) -> str | None: ...
    def close(self) -> None: ...


class ReadyQueue(Protocol):
    """Carries the ids of ready jobs to the workers. May lose or repeat them: the sweep finds what it lost."""

    def put(self, job_ids: Sequence[str]) -> None: ...
    def take(self, limit: int) -> Sequence[str]: ...
    def close(self) -> None: ...


class Bell(Protocol):
    """Tells whoever waits for work to look now. It may be lost."""

    def ring(self, job_ids: Sequence[str] = ()) -> None: ...


class Stop(Protocol):
    """Asked at every stream event whether the call should end, and why: a Failure, or None to go on."""

    def __call__(self) -> Failure | None: ...


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One call to make: the stored request, with the model that will be asked."""

    job: Job
    request: dict[str, Any] = field(repr=False)
    before: Sequence[dict[str, Any]] = field(default=(), repr=False)  # the turns of the conversation it continues
    max_cost_usd: float | None = None


class Claude(Protocol):
    """
    Makes one call and sees it to its end.

    Calls `sending` once, before the first byte goes out, and `progress` as text arrives (it throttles itself: call it
    as often as you like). Never raises: whatever goes wrong is a `Failure`.
    """

    def call(
        self, prompt: Prompt, *, stop: Stop, sending: Callable[[], None], progress: Callable[[Partial], None]
    ) -> Completion | Failure: ...
    def close(self) -> None: ...


class Sender(Protocol):
    """Makes one POST, within a time of its own, and says what came of it. Never raises."""

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Reply: ...
