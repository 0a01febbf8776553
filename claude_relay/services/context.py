"""Dependencies that all use cases share."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING

from ..core.jobs.job import Job, Lease
from ..core.lazy_dataclass import dataclass
from ..core.text.ids import format_ulid, ulid_number
from ..core.wire import timestamp
from ..errors import Ambiguous, Damaged, NotFound
from .search import Search

if TYPE_CHECKING:
    from ..core.models.catalog import ModelCatalog
    from ..core.money.prices import PriceList
    from ..core.policy import Policy
    from ..ports import Notifier, ReadTransaction, Store
    from .collection_callback import EndedRows
    from .types import JobRef

_SECOND = 1000 << 80  # in a ULID as a number


class UuidFactory:
    """Monotonic ULIDs: ids sort by time and, within one millisecond, in the order of their creation."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self._lock = threading.Lock()
        self._last = 0

    def new(self, now: float) -> str:
        """Create the next id."""
        number = ulid_number(now, self._random.randbytes(10))
        with self._lock:
            ahead = self._last - number
            if 0 <= ahead < _SECOND:  # the same moment, rather than a clock that was set back
                number = self._last + 1
            self._last = number

        return format_ulid(number)


@dataclass(frozen=True, kw_only=True)
class Context:
    """The collaborators of a use case, and ids and leases made with them."""

    store: Store
    notifier: Notifier
    policy: Policy
    rng: random.Random
    id_factory: UuidFactory
    prices: PriceList
    model_catalog: Callable[[], ModelCatalog]
    search: Search = field(default_factory=Search)
    #: Of collections that are about to end.
    ended_rows: dict[str, EndedRows] = field(default_factory=dict, repr=False)

    def new_id(self, now: float) -> str:
        """Create an id that sorts by time."""
        return self.id_factory.new(now)

    def lease(self, worker: str, now: float, seconds: float) -> Lease:
        """Create a lease of that worker with a random token."""
        return Lease(worker=worker, token=self.rng.randbytes(16).hex(), expires_at=now + seconds)


def get_job(tx: ReadTransaction, ref: JobRef) -> Job:
    """The job of a reference; raises `NotFound`, or `Ambiguous` where the admin must name the owner."""
    stored = tx.find(ref.request_id, ref.owner)
    jobs = [job for job in stored if job.collection is None or tx.row_visible(job)]
    if not jobs:
        for tombstone in tx.tombstones(ref.request_id, ref.owner):
            raise NotFound(
                f"Job {ref.request_id} was purged at {timestamp(tombstone.purged_at)}, after its retention: "
                f"prompt and result are erased, and its requestId cannot be used again."
            )
        if not stored and tx.has_lost_row(ref.request_id, ref.owner):
            raise Damaged(f"the row of job {ref.request_id}")
        raise NotFound(f"There is no job {ref.request_id} here. It may never have been accepted, or it was purged.")
    if len(jobs) > 1:
        owners = ", ".join(sorted(job.owner for job in jobs))
        raise Ambiguous(
            f"Several owners have a job {ref.request_id} ({owners}); name one with --owner (over HTTP: ?owner=NAME)."
        )

    return jobs[0]
