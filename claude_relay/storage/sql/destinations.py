"""Destinations: their health, their backlog of deliveries, and the URLs that answered 410."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...core.deliveries.destination import Destination, DueDestination
from . import records
from .query import QueryBase, Row

if TYPE_CHECKING:
    from ...core.deliveries.delivery import Delivery

# Steps from one destination to the next in the index, so that a backlog of thousands costs one step. Of those that are
# named only the entries from a time on are read, and the steps lead through the gaps between them.
_DUE_DESTINATIONS = """
WITH RECURSIVE pending (name, below) AS (
    SELECT (SELECT min(destination) FROM deliveries
            WHERE state = 'pending' AND destination > gap.above AND destination < gap.below), gap.below
    FROM ({gaps}) AS gap
    UNION ALL
    SELECT (SELECT min(destination) FROM deliveries
            WHERE state = 'pending' AND destination > pending.name AND destination < pending.below), pending.below
    FROM pending WHERE pending.name IS NOT NULL
)
SELECT name, (SELECT min(due_at) FROM deliveries WHERE state = 'pending' AND destination = name AND due_at >= since),
       (SELECT count(*) FROM deliveries WHERE state = 'sending' AND destination = name AND due_at >= since),
       (SELECT min(due_at) FROM deliveries WHERE state = 'sending' AND destination = name AND due_at >= since)
FROM (SELECT name, {always} AS since FROM pending WHERE name IS NOT NULL{named}) AS destination"""
#: Before and after the names of all destinations.
_FIRST, _LAST = "", "\U0010ffff"
_ALWAYS = float("-inf")
_FAILING_URLS = """
SELECT url, max(schedule_index) FROM (
    SELECT url, schedule_index FROM deliveries
    WHERE state = 'pending' AND destination = ? AND due_at > ? ORDER BY due_at LIMIT ?
) AS later GROUP BY url"""
_LATEST_DESTINATIONS = """
SELECT destination FROM (
    SELECT job_id, destination FROM deliveries ORDER BY job_id DESC, run DESC LIMIT 1000
) AS latest
GROUP BY destination ORDER BY max(job_id) DESC LIMIT ?"""
_DESTINATION = f"SELECT {records.columns(records.DESTINATION)} FROM destinations"
_DELIVERY = f"SELECT {records.columns(records.DELIVERY, 'd.')} FROM deliveries d"


#: Backlogs are counted up to this number.
COUNTED = 10_000


class DestinationReads(QueryBase):
    """Implements `ports.store.DestinationReads`."""

    def due_destinations(self, floors: Mapping[str, float] = MappingProxyType({})) -> Sequence[DueDestination]:
        """
        The destinations with pending deliveries, due or not.

        `floors`: by destination the due time from which on its deliveries are read; it has none before.
        """
        names = sorted(floors)
        gaps = [bound for gap in itertools.pairwise((_FIRST, *names, _LAST)) for bound in gap]
        rows = self._run(_due_destinations(len(names)), [*gaps, *(x for name in names for x in (name, floors[name]))])
        return self._intact(_to_due_destination, [row for row in rows if row[1] is not None])

    def due_deliveries(
        self, destination: str, *, limit: int, newest: bool = False, since: float = _ALWAYS
    ) -> Sequence[Delivery]:
        """Due deliveries to a destination: those due for longest first, or (`newest`) last; none due before `since`."""
        order = "DESC" if newest else "ASC"
        sql = f"""{_DELIVERY} WHERE d.state = 'pending' AND d.destination = ? AND d.due_at <= ? AND d.due_at >= ?
                  ORDER BY d.due_at {order} LIMIT ?"""
        return self._fetch_intact(records.to_delivery, sql, (destination, self._now, since, limit))

    def failing_urls(self, destination: str, *, limit: int) -> dict[str, int]:
        """URLs of the next `limit` deliveries that are retried later, with the most failures of one of each."""
        return self._fetch_pairs(_FAILING_URLS, (destination, self._now, limit))

    def waiting_deliveries(self, destination: str, *, opened_before: float, limit: int) -> Sequence[Delivery]:
        """Pending deliveries to a destination that were opened before then."""
        sql = f"{_DELIVERY} WHERE d.state = 'pending' AND d.destination = ? AND d.opened_at <= ? LIMIT ?"
        return self._fetch_all(records.to_delivery, sql, (destination, opened_before, limit))

    def waiting_for(self, destination: str) -> int:
        """The number of pending deliveries to a destination, counted up to `COUNTED`."""
        sql = """SELECT count(*) FROM (
                     SELECT 1 FROM deliveries WHERE state = 'pending' AND destination = ? LIMIT ?) AS pending"""
        return self._count(sql, (destination, COUNTED))

    def latest_destinations(self, limit: int) -> Sequence[str]:
        """The destinations of the thousand deliveries of the newest jobs, newest first."""
        return [row[0] for row in self._run(_LATEST_DESTINATIONS, (limit,))]

    def dead_by_destination(self) -> dict[str, int]:
        """The number of deliveries that were given up, by destination."""
        sql = """SELECT destination, count(*) FROM deliveries /* index: deliveries_dead */ WHERE state = 'dead'
                 GROUP BY destination"""
        return self._fetch_pairs(sql)

    def latest_url(self, destination: str) -> str | None:
        """The URL of the newest job with a delivery to a destination, of the newest thousand with any."""
        sql = """SELECT url FROM (
                     SELECT job_id, run, url, destination FROM deliveries ORDER BY job_id DESC, run DESC LIMIT 1000
                 ) AS latest WHERE destination = ? ORDER BY job_id DESC, run DESC LIMIT 1"""
        url: str | None = self._fetch_value(sql, (destination,))
        return url

    def destination(self, name: str) -> Destination | None:
        """The failures of a destination; None for a healthy one."""
        return self._fetch_first(records.to_destination, f"{_DESTINATION} WHERE name = ?", (name,))

    def destinations(self) -> Sequence[Destination]:
        """All destinations that failed recently."""
        return self._fetch_all(records.to_destination, f"{_DESTINATION} ORDER BY name")

    def gone_urls(self, *, limit: int) -> dict[str, float]:
        """The latest URLs that answered 410, and when."""
        return self._fetch_pairs("SELECT url, at FROM gone ORDER BY at DESC LIMIT ?", (limit,))


class DestinationWrites(QueryBase):
    """Implements `ports.store.DestinationWrites`."""

    def save_destination(self, destination: Destination) -> None:
        """Store the failures of a destination."""
        changes = ", ".join(f"{name} = excluded.{name}" for name in records.DESTINATION if name != "name")
        sql = f"{records.insert('destinations', records.DESTINATION)} ON CONFLICT (name) DO UPDATE SET {changes}"
        self._run(sql, records.destination_values(destination))

    def delete_destination(self, name: str) -> None:
        """Delete the failures of a destination that is healthy again."""
        self._run("DELETE FROM destinations WHERE name = ?", (name,))

    def save_gone_url(self, url: str) -> None:
        """Store a URL that answered 410 now."""
        sql = "INSERT INTO gone (url, at) VALUES (?, ?) ON CONFLICT (url) DO UPDATE SET at = excluded.at"
        self._run(sql, (url, self._now))

    def delete_gone_urls(self, *, url: str | None = None, before: float = 0.0) -> None:
        """Delete a URL that accepts callbacks again, and all that answered 410 before then."""
        self._run("DELETE FROM gone WHERE url = ? OR at < ?", (url, before))


@functools.lru_cache(maxsize=64)
def _due_destinations(named: int) -> str:
    gaps = " UNION ALL ".join(["SELECT ? AS above, ? AS below", *["SELECT ?, ?"] * named])

    return _DUE_DESTINATIONS.format(gaps=gaps, always="-1e308", named=" UNION ALL SELECT ?, ?" * named)


def _to_due_destination(row: Row) -> DueDestination:
    due_at, sending = float(row[1]), float("inf") if row[3] is None else float(row[3])

    return DueDestination(destination=row[0], due_at=due_at, busy=row[2], oldest=min(due_at, sending))
