"""
Numbers of jobs and deliveries by state, group and key, without counting them.

A transaction adds one row for each number that it changes; a number is the sum of its rows. No row is written twice, so
that none is contended, and the writer folds the rows into one for each number from time to time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...core.deliveries.delivery import Delivery, DeliveryState
from ...core.jobs.job import UNFINISHED, Job, State
from . import records
from .query import QueryBase, placeholders

COLUMNS = "kind state grp owner n".split()
JOBS, DELIVERIES, COLLECTIONS = "job", "delivery", "collection"

# A fold replaces the rows up to this one: others may be added at the same time.
LAST = "SELECT max(seq) FROM tallies"
FOLD = (
    """INSERT INTO tallies (kind, state, grp, owner, n)
       SELECT kind, state, grp, owner, sum(n) FROM tallies WHERE seq <= ? GROUP BY kind, state, grp, owner
       HAVING sum(n) <> 0""",
    "DELETE FROM tallies WHERE seq <= ?",
)


# Steps from one group to the next in the index, so that thousands of jobs cost one step.
_OLDEST_BY_GROUP = """
WITH RECURSIVE waiting (grp) AS (
    SELECT min(grp) FROM jobs /* index: jobs_oldest */ WHERE state = 'queued' AND lane = 'live'
    UNION ALL
    SELECT (SELECT min(grp) FROM jobs /* index: jobs_oldest */
            WHERE state = 'queued' AND lane = 'live' AND grp > waiting.grp)
    FROM waiting WHERE waiting.grp IS NOT NULL
)
SELECT grp, (SELECT min(due_at) FROM jobs /* index: jobs_oldest */
             WHERE state = 'queued' AND lane = 'live' AND grp = waiting.grp AND due_at <= ?)
FROM waiting WHERE grp IS NOT NULL"""
_OLDEST_IN_BATCH_LANE = """
SELECT min(due_at) FROM jobs /* index: jobs_gather */ WHERE state = 'queued' AND lane = 'batch' AND due_at <= ?"""


class Number(NamedTuple):
    """The name of a number: jobs or deliveries in a state, of a group and, for jobs, of a key."""

    kind: str
    state: str
    group: str
    owner: str


def of_job(job: Job) -> Number:
    """The number that a job is part of."""
    return of_state(job.state.value, job.group, job.owner)


def of_state(state: str, group: str, owner: str) -> Number:
    """The number that a job in that state is part of, or the job of a collection."""
    return Number(COLLECTIONS if state == State.COLLECTION.value else JOBS, state, group, owner)


def of_delivery(delivery: Delivery) -> Number:
    """The number that a delivery is part of."""
    return Number(DELIVERIES, delivery.state.value, delivery.group, "")


def rows(changes: Counter[Number]) -> Sequence[tuple[Any, ...]]:
    """The rows to add, in the order of `COLUMNS`."""
    return [(*number, change) for number, change in changes.items() if change]


def insert(count: int) -> str:
    """The statement that adds that many rows."""
    return records.insert("tallies", COLUMNS, count)


class TallyWrites(QueryBase):
    """The count that other writes keep."""

    _changes: Counter[Number]

    def _moved(self, before: Number | None, after: Number | None) -> None:
        """Count a row that was part of one number and is part of another."""
        if before is not None:
            self._changes[before] -= 1
        if after is not None:
            self._changes[after] += 1


class TallyReads(QueryBase):
    """Implements `ports.store.TallyReads`."""

    def counts(self, owner: str | None = None) -> dict[State, int]:
        """The number of jobs in each state, of one owner or (None) of all."""
        return {State(state): count for state, count in self._by_state(JOBS, owner).items() if count}

    def waiting_by_group(self) -> dict[str, int]:
        """The number of queued jobs of each group."""
        sql = "SELECT grp, sum(n) FROM tallies WHERE kind = ? AND state = 'queued' GROUP BY grp HAVING sum(n) > 0"
        return {group: int(count) for group, count in self._fetch_pairs(sql, (JOBS,)).items()}

    def counts_by_group(self) -> dict[tuple[State, str], int]:
        """The number of jobs in each state of each group."""
        sql = "SELECT state, grp, sum(n) FROM tallies WHERE kind = ? GROUP BY state, grp"
        return {(State(row[0]), row[1]): int(row[2]) for row in self._run(sql, (JOBS,)) if row[2]}

    def delivery_counts(self) -> dict[str, int]:
        """The number of deliveries in each state."""
        return {state.value: 0 for state in DeliveryState} | self._by_state(DELIVERIES)

    def waiting(self) -> int:
        """The number of jobs that have not ended."""
        sql = f"SELECT sum(n) FROM tallies WHERE kind = ? AND state IN ({placeholders(UNFINISHED)})"
        return self._count(sql, (JOBS, *(state.value for state in UNFINISHED)))

    def waiting_by_owner(self) -> dict[str, int]:
        """The number of unfinished jobs of each key that has any."""
        sql = f"""SELECT owner, sum(n) FROM tallies WHERE kind = ? AND state IN ({placeholders(UNFINISHED)})
                  GROUP BY owner HAVING sum(n) > 0"""
        counts = self._fetch_pairs(sql, (JOBS, *(state.value for state in UNFINISHED)))
        return {name: int(count) for name, count in counts.items()}

    def oldest_waiting(self) -> float | None:
        """The earliest due time of the waiting jobs that are due."""
        batch = self._fetch_time(_OLDEST_IN_BATCH_LANE, (self._now,))
        times = [*self.oldest_waiting_by_group().values(), *([] if batch is None else [batch])]
        return min(times, default=None)

    def oldest_waiting_by_group(self) -> dict[str, float]:
        """The earliest due time of the due live jobs of each group."""
        oldest = self._fetch_pairs(_OLDEST_BY_GROUP, (self._now,))
        return {group: due_at for group, due_at in oldest.items() if due_at is not None}

    def _by_state(self, kind: str, owner: str | None = None) -> dict[str, int]:
        sql = "SELECT state, sum(n) FROM tallies WHERE kind = ? AND (? IS NULL OR owner = ?) GROUP BY state"
        counts = self._fetch_pairs(sql, (kind, owner, owner))
        return {state: int(count) for state, count in counts.items()}
