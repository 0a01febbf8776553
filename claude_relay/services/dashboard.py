"""Queries of the dashboard's pages, each bounded in rows, as values rather than wire bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ports import FinishedJob, ReadTransaction, RunningCall
from .context import Context
from .transactions import query

#: The latest jobs that figures over time are made of.
HISTORY = 2_000
#: Calls in flight on one page.
_CALLS = 100


@dataclass(frozen=True, kw_only=True)
class History:
    """The jobs that ended lately; `complete`: all of them since `since`, rather than the newest ones."""

    jobs: Sequence[FinishedJob]
    since: float
    until: float
    complete: bool


class DashboardQueries:
    """Queries beyond those of the HTTP API; `owner` None: of all owners."""

    def __init__(self, context: Context) -> None:
        self._store = context.store

    @query
    def calls_in_flight(self, tx: ReadTransaction, *, owner: str | None = None) -> Sequence[RunningCall]:
        """The calls in flight, the longest running first."""
        return tx.running_calls(limit=_CALLS, owner=owner)

    @query
    def history(self, tx: ReadTransaction, *, seconds: float, owner: str | None = None) -> History:
        """
        The jobs that ended in the last `seconds`: at most the newest ones.

        A busy relay shows a shorter time rather than read a million rows.
        """
        since = tx.now - seconds
        newest = tx.finished_jobs(since=since, limit=HISTORY)
        complete = len(newest) < HISTORY
        jobs = newest if owner is None else tx.finished_jobs(since=since, limit=HISTORY, owner=owner)

        return History(jobs=jobs, since=since if complete else newest[-1].finished_at, until=tx.now, complete=complete)

    @query
    def held(self, tx: ReadTransaction) -> int:
        """The number of jobs that wait for a person after an interrupted call, counted up to a thousand."""
        return tx.held_jobs(limit=1000)
