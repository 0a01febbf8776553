"""Events: the timeline of each job, and the feed of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.jobs.feed import FeedEntry
from ...core.jobs.job import State
from . import records
from .query import QueryBase, Row

if TYPE_CHECKING:
    from ...core.jobs.events import Event

_EVENT = "e.job_id, e.subject, e.version, e.at, e.name, e.detail"
_FEED = f"""SELECT e.seq, j.request_id, j.owner, j.grp, j.state, j.collection, {_EVENT}
            FROM events e JOIN jobs j ON j.id = e.job_id WHERE"""


# Rows of a collection are stored piece by piece, and are not visible before all of them are there.
_NO_NEW_ROWS = "(j.collection IS NULL OR e.name <> 'submitted')"


class EventReads(QueryBase):
    """Implements `ports.store.EventReads`."""

    def events(self, job_id: str) -> Sequence[Event]:
        """The timeline of a job, oldest first."""
        sql = f"SELECT {_EVENT} FROM events e WHERE e.job_id = ? ORDER BY e.seq"
        return self._fetch_all(records.to_event, sql, (job_id,))

    def events_after(
        self, cursor: int | None, *, limit: int, owner: str | None = None
    ) -> tuple[Sequence[tuple[int, str, Event]], int]:
        """
        Events after `cursor` as (cursor, requestId, event), and the cursor to go on from.

        With None: the last `limit`. The sequence is safe to follow because one writer commits at a time; elsewhere ids
        may be taken before they are committed.
        """
        by_owner, args = ("AND j.owner = ?", [owner]) if owner is not None else ("", [])
        order = "DESC" if cursor is None else "ASC"
        sql = f"""SELECT e.seq, j.request_id, {_EVENT} FROM events e JOIN jobs j ON j.id = e.job_id
                  WHERE e.seq > ? AND {_NO_NEW_ROWS} {by_owner} ORDER BY e.seq {order} LIMIT ?"""
        rows = self._run(sql, (cursor or 0, *args, limit))
        events = [(row[0], row[1], records.to_event(row[2:])) for row in rows]
        if cursor is None:
            events.reverse()
            last = int(self._fetch_value("SELECT max(seq) FROM events") or 0)
        else:
            last = events[-1][0] if events else cursor
        return events, last

    def feed_after(self, position: int, *, limit: int) -> Sequence[FeedEntry]:
        """Events of all jobs after that position, oldest first; by primary key."""
        return self._fetch_all(
            _to_entry, f"{_FEED} e.seq > ? AND {_NO_NEW_ROWS} ORDER BY e.seq LIMIT ?", (position, limit)
        )

    def feed_of_job(self, job_id: str, *, position: int, latest: bool = False) -> Sequence[FeedEntry]:
        """Events of one job after that position, oldest first; or the job's own latest one alone."""
        if latest:
            sql = f"{_FEED} e.job_id = ? AND e.subject = 'job' ORDER BY e.version DESC LIMIT 1"
            return self._fetch_all(_to_entry, sql, (job_id,))
        entries = self._fetch_all(_to_entry, f"{_FEED} e.job_id = ? AND e.seq > ?", (job_id, position))

        return sorted(entries, key=lambda entry: entry.seq)

    def newest_event(self) -> int:
        """The position of the newest event; 0 without any."""
        return self._count("SELECT max(seq) FROM events")

    def store_identity(self) -> str:
        """The identity of this store, which a backup of it shares."""
        return str(self._fetch_value("SELECT value FROM meta WHERE key = 'identity'"))


def _to_entry(row: Row) -> FeedEntry:
    return FeedEntry(
        seq=row[0],
        request_id=row[1],
        owner=row[2],
        group=row[3],
        state=State(row[4]),
        collection=row[5],
        event=records.to_event(row[6:]),
    )


class EventWrites(QueryBase):
    """The append that other writes use."""

    _events: list[Sequence[Any]]

    def _add_event(self, event: Event) -> None:
        """Written with the other events of the transaction: each statement costs more than its row."""
        detail = records.dump(event.detail or None)
        self._events.append((event.job_id, event.subject, event.version, event.at, event.name.value, detail))
