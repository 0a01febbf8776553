"""
A collection as a value, and its phases.

Its rows are ordinary jobs. A job of its own, which no worker claims, carries its webhook: deliveries, acknowledgements
and events are those of that job, and the number of its run is the generation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from enum import Enum
from typing import Any

from ...errors import Conflict
from ..jobs.failure import ErrorType, Failure, Remedy, Repair
from ..jobs.job import Job, State
from ..lazy_dataclass import dataclass

#: A collectionId; with a colon and the number of a row it is still a requestId.
COLLECTION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,119}")
COLLECTION_ID_RULE = "1 to 120 characters of A-Z a-z 0-9 . _ : - and begin with a letter or digit"
#: Rows of one request.
MAX_ROWS = 10_000
#: Seconds after which a request that was storing rows is taken for dead.
STORING_TIMEOUT = 60.0
#: Seconds without a request after which an open collection is closed.
OPEN_FOR = 86_400.0
#: No requestId of a caller ends like this: it marks the job of a collection.
MARK = "/"


#: The public statuses.
STATUSES = ("open", "pending", "processing", "completed", "partial", "failed")


class Phase(str, Enum):
    """The phase of a collection."""

    STAGING = "staging"  # its first rows are being stored: it is not visible
    OPEN = "open"  # more rows may follow
    CLOSED = "closed"  # it ends with its last row
    RETRYING = "retrying"  # rows are being queued again for the next generation
    FINISHED = "finished"
    PURGING = "purging"  # its rows are being erased: it is not visible


class Kind(str, Enum):
    """The form in which rows arrive."""

    ROWS = "rows"  # variables of a template
    JOBS = "jobs"  # submit bodies


@dataclass(frozen=True, kw_only=True)
class Collection:
    """
    A collection, without its rows.

    Rows after `total` are being stored, and not visible. While it is not `claimable`, no row starts.
    """

    job: Job
    phase: Phase
    claimable: bool = False
    total: int = 0
    touched_at: float = 0.0  # the latest request that sent rows, or piece of rows that was stored
    cancel_requested_at: float | None = None
    finished_at: float | None = None
    status: str | None = None  # once finished, as are the next five
    completed: int = 0
    failed: int = 0
    cost_usd: float | None = None
    saved_usd: float | None = None
    checks_failed: int | None = None  # rows with a check that is false; None where no row has checks
    spent_usd: float = 0.0  # by the calls of this generation
    max_cost_usd: float | None = None
    each: bool = False
    on_invalid: str = "refuse"
    kind: Kind | None = None
    template: str | None = None  # the version, such as invoice@3; None also for one in the request
    template_body: dict[str, Any] | None = field(default=None, repr=False)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    retry_rows: tuple[int, ...] | None = None  # while retrying; None: all failed ones
    version: int = 1

    @property
    def id(self) -> str:
        """The internal id, which is that of its job."""
        return self.job.id

    @property
    def collection_id(self) -> str:
        """The id that the caller knows."""
        return self.job.request_id.removesuffix(MARK)

    @property
    def generation(self) -> int:
        """How often its rows were run: 1, and one more for each retry."""
        return self.job.run

    @property
    def visible(self) -> bool:
        """Whether readers see it."""
        return self.phase not in (Phase.STAGING, Phase.PURGING)

    def row_id(self, row: int) -> str:
        """The requestId of a row."""
        return f"{self.collection_id}:{row}"


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The rows of a collection by state, and what their present runs cost."""

    pending: int = 0
    processing: int = 0
    completed: int = 0
    failed: int = 0
    cost_usd: float | None = None
    saved_usd: float | None = None
    checks_failed: int | None = None  # counted at the end

    @property
    def total(self) -> int:
        """All of them."""
        return self.pending + self.processing + self.completed + self.failed

    @property
    def outcome(self) -> str:
        """The status once every row has ended."""
        if not self.failed:
            return "completed"

        return "partial" if self.completed else "failed"


_WAITING = (State.QUEUED, State.HELD)


def tally_of(states: Mapping[State, tuple[int, float | None, float | None]]) -> Tally:
    """The tally of rows by state, each state with its count, cost and saving."""

    def count(*which: State) -> int:
        return sum(states[state][0] for state in which if state in states)

    costs = [cost for _, cost, _ in states.values() if cost is not None]
    savings = [saved for _, _, saved in states.values() if saved is not None]

    return Tally(
        pending=count(*_WAITING),
        processing=count(State.RUNNING, State.BATCHED),
        completed=count(State.COMPLETED),
        failed=count(State.FAILED, State.CANCELLED),
        cost_usd=round(sum(costs), 10) if costs else None,
        saved_usd=round(sum(savings), 10) if savings else None,
    )


def status_of(collection: Collection, tally: Tally) -> str:
    """The public status."""
    if collection.status is not None:
        return collection.status
    if collection.phase in (Phase.OPEN, Phase.STAGING):
        return "open"

    return "pending" if tally.pending == tally.total and collection.generation == 1 else "processing"


def publish(
    collection: Collection, *, added: int, columns: tuple[str, ...], stays_open: bool, now: float
) -> Collection:
    """Make the rows visible that were stored after `total`."""
    phase = collection.phase
    if phase is Phase.STAGING:
        phase = Phase.OPEN if stays_open else Phase.CLOSED

    return _next(
        collection,
        phase=phase,
        claimable=collection.cancel_requested_at is None,
        total=collection.total + added,
        columns=tuple(dict.fromkeys((*collection.columns, *columns))),
        touched_at=now,
    )


def begin_rows(collection: Collection, *, now: float) -> Collection:
    """Store more rows: none of the collection's starts until all of them are there."""
    if collection.phase is not Phase.OPEN:
        raise Conflict(
            f"collection {collection.collection_id} takes no more rows: it {_NOT_OPEN[collection.phase]}; "
            "rows follow only between POST /api/collections with open: true and its close"
        )

    return _next(collection, claimable=False, touched_at=now)


def keep_storing(collection: Collection, *, now: float) -> Collection:
    """Note that its rows are still being stored."""
    return _next(collection, touched_at=now)


def abandon_rows(collection: Collection) -> Collection:
    """Go on without the rows that were being stored."""
    return _next(collection, claimable=collection.cancel_requested_at is None)


def is_storing(collection: Collection, *, now: float) -> bool:
    """Whether another request is storing rows at this time."""
    storing = collection.phase is Phase.STAGING or (collection.phase is Phase.OPEN and not collection.claimable)

    return storing and now - collection.touched_at < STORING_TIMEOUT


def close(collection: Collection) -> Collection:
    """No more rows follow: it ends with its last row."""
    if collection.phase is not Phase.OPEN:
        raise Conflict(
            f"collection {collection.collection_id} cannot be closed: it {_NOT_OPEN[collection.phase]} already"
        )
    if not collection.claimable and collection.cancel_requested_at is None:
        raise Conflict(f"collection {collection.collection_id} is storing rows at this moment; close it after that")

    return _next(collection, phase=Phase.CLOSED)


def cancel(collection: Collection, *, now: float) -> Collection:
    """Start no further row, and end those that wait."""
    if collection.phase is Phase.FINISHED:
        raise Conflict(
            f"collection {collection.collection_id} has already {_ENDED[collection.status or 'completed']}: "
            "there is nothing left to cancel"
        )
    if collection.cancel_requested_at is not None:
        raise Conflict(f"collection {collection.collection_id} is being cancelled already")
    phase = Phase.CLOSED if collection.phase is Phase.OPEN else collection.phase

    return _next(collection, phase=phase, claimable=False, cancel_requested_at=now)


def finish(collection: Collection, tally: Tally, *, now: float) -> Collection:
    """Every row has ended."""
    return _next(
        collection,
        phase=Phase.FINISHED,
        claimable=True,
        finished_at=now,
        status=tally.outcome,
        completed=tally.completed,
        failed=tally.failed,
        cost_usd=tally.cost_usd,
        saved_usd=tally.saved_usd,
        checks_failed=tally.checks_failed,
    )


def begin_retry(collection: Collection, job: Job, rows: tuple[int, ...] | None, *, now: float) -> Collection:
    """Begin the next generation; `job` is the collection's own in its next run."""
    if collection.phase is not Phase.FINISHED:
        raise Conflict(f"collection {collection.collection_id} has not ended yet: it can be retried once it has")

    return _next(
        collection,
        job=job,
        phase=Phase.RETRYING,
        claimable=False,
        cancel_requested_at=None,
        finished_at=None,
        status=None,
        spent_usd=0.0,
        retry_rows=rows,
        touched_at=now,
    )


def end_retry(collection: Collection) -> Collection:
    """All rows of the next generation are queued."""
    return _next(collection, phase=Phase.CLOSED, claimable=collection.cancel_requested_at is None, retry_rows=None)


def over_budget(limit: float, job: Job, repair: Repair | None = None) -> Failure:
    """The failure of a row that waits when its collection has spent its maximum."""
    message = f"maxCostUsd {limit:g} of its collection was reached before this row was called"
    if job.calls:
        message += f" again, to repair its answer: {repair.problem}" if repair is not None else " again"
    partial = repair.text if repair is not None else ""

    return Failure(type=ErrorType.BUDGET, message=message, remedy=Remedy.FAIL, sent=False, partial=partial)


def erase(collection: Collection) -> Collection:
    """Forget the prompt of its rows, once its callback was delivered (`retain: metadata`)."""
    return _next(collection, template_body=None)


def begin_purge(collection: Collection) -> Collection:
    """Hide it while its rows are erased."""
    return _next(collection, phase=Phase.PURGING)


def ended_state(collection: Collection) -> State:
    """The state in its tombstone; that of a collection stands for one that ended partly."""
    return _ENDED_STATES.get(collection.status or "", State.COLLECTION)


def purged(job: Job, *, total: int) -> Collection:
    """A purged collection, as far as the job of its tombstone describes it."""
    statuses = {state: status for status, state in _ENDED_STATES.items()}

    return Collection(job=job, phase=Phase.PURGING, total=total, status=statuses.get(job.state, "partial"))


def _next(collection: Collection, **fields: Any) -> Collection:
    return replace(collection, version=collection.version + 1, **fields)


_NOT_OPEN = {
    Phase.STAGING: "is being stored",
    Phase.OPEN: "is open",
    Phase.CLOSED: "is closed",
    Phase.RETRYING: "is closed",
    Phase.FINISHED: "is closed",  # a key that may only submit does not learn here whether it has ended
    Phase.PURGING: "was purged",
}
_ENDED_STATES = {"completed": State.COMPLETED, "failed": State.FAILED}
_ENDED = {"completed": "completed", "partial": "ended", "failed": "failed"}
