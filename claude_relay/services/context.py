"""What goes in and out of the use cases."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.deliveries.delivery import Delivery
from ..core.jobs.change import Call
from ..core.jobs.job import Job, Lease, State
from ..core.jobs.submission import StoredRequest
from ..core.models.catalog import ModelCatalog
from ..core.money.prices import PriceList
from ..core.policy import Policy
from ..core.text.ids import format_ulid, ulid_number
from ..core.wire import timestamp
from ..errors import Ambiguous, NotFound
from ..ports import BatchItem, Notifier, ReadTransaction, Store

_SECOND = 1000 << 80  # of a ULID as a number


@dataclass(frozen=True, kw_only=True)
class JobRef:
    """A job as a caller names it. `owner` None: whoever's it is, for the admin."""

    request_id: str
    owner: str | None = None


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A submission that is on disk. `duplicate`: it had been before."""

    job: Job
    warnings: tuple[str, ...] = ()
    duplicate: bool = False


@dataclass(frozen=True, kw_only=True)
class ClaimedJob:
    """A job in a worker's hands."""

    job: Job
    call: Call
    request: StoredRequest = field(repr=False)

    @property
    def token(self) -> str:
        """What proves that it still is."""
        return self.job.lease.token if self.job.lease else ""


@dataclass(frozen=True, kw_only=True)
class BatchEntry:
    """One item of a batch, with its job as it stands now and the entry in the ledger that is its."""

    item: BatchItem
    job: Job
    call: Call
    request: StoredRequest | None = field(repr=False)

    @property
    def as_claimed(self) -> ClaimedJob:
        """As whoever makes requests whole knows a job in hand: without a lease, as nobody holds it."""
        return ClaimedJob(
            job=self.job, call=self.call, request=self.request or StoredRequest(job_id=self.job.id, request={})
        )

    @property
    def awaited(self) -> bool:
        """Whether the job still waits for this very item."""
        return self.job.state is State.BATCHED and self.job.calls == self.call.number


@dataclass(frozen=True, kw_only=True)
class ClaimedDelivery:
    """A delivery in a sender's hands."""

    delivery: Delivery
    request_id: str
    body: bytes = field(repr=False)
    headers: dict[str, str] | None = field(repr=False)  # None: they cannot be read any more


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some jobs, newest first, and the cursor to the next ones (None: that was all)."""

    jobs: Sequence[dict[str, Any]]
    cursor: str | None


class UuidFactory:
    """Makes ids that sort by time, and in one millisecond by the order in which they were made (monotonic ULIDs)."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self._lock = threading.Lock()
        self._last = 0

    def new(self, now: float) -> str:
        """The next one."""
        number = ulid_number(now, self._random.randbytes(10))
        with self._lock:
            ahead = self._last - number
            if 0 <= ahead < _SECOND:  # the same moment; not the past of a clock that was set back
                number = self._last + 1
            self._last = number

        return format_ulid(number)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What every use case works with."""

    store: Store
    notifier: Notifier
    policy: Policy
    rng: random.Random
    id_factory: UuidFactory
    prices: PriceList
    model_catalog: Callable[[], ModelCatalog]

    def new_id(self, now: float) -> str:
        """A fresh id that sorts by time."""
        return self.id_factory.new(now)

    def lease(self, worker: str, now: float, seconds: float) -> Lease:
        """A claim of that worker, until then."""
        return Lease(worker=worker, token=self.rng.randbytes(16).hex(), expires_at=now + seconds)


def get_job(tx: ReadTransaction, ref: JobRef) -> Job:
    """The job that is meant; raises `NotFound`, or `Ambiguous` where the admin must name the owner."""
    jobs = tx.find(ref.request_id, ref.owner)
    if not jobs:
        for gone in tx.tombstones(ref.request_id, ref.owner):
            raise NotFound(
                f"Job {ref.request_id} was purged at {timestamp(gone.purged_at)}, after its retention: "
                f"prompt and result are erased, and its requestId stays taken."
            )
        raise NotFound(f"There is no job {ref.request_id} here. It may never have been accepted, or it was purged.")
    if len(jobs) > 1:
        owners = ", ".join(sorted(job.owner for job in jobs))
        raise Ambiguous(
            f"Several owners have a job {ref.request_id} ({owners}); name one with --owner (over HTTP: ?owner=NAME)."
        )

    return jobs[0]
