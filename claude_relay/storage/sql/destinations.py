"""Destinations and what waits for each: which answer, which are slowed down, which addresses are gone."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.deliveries.delivery import Delivery
from ...core.deliveries.destination import Destination, DueDestination
from ...core.jobs.submission import WebhookTarget
from . import records
from .query import QueryBase, fetch_all, fetch_one

# From one destination to the next in the index, not over all that wait: a backlog of thousands costs one step.
_DUE_DESTINATIONS = """
WITH RECURSIVE known (name) AS (
    SELECT min(destination) FROM deliveries WHERE state = 'pending'
    UNION ALL
    SELECT (SELECT min(destination) FROM deliveries WHERE state = 'pending' AND destination > known.name)
    FROM known WHERE known.name IS NOT NULL
)
SELECT name, (SELECT min(due_at) FROM deliveries WHERE state = 'pending' AND destination = name),
       (SELECT count(*) FROM deliveries WHERE state = 'sending' AND destination = name)
FROM known WHERE name IS NOT NULL"""
_DESTINATION = f"SELECT {records.columns(records.DESTINATION)} FROM destinations"
_DELIVERY = f"SELECT {records.columns(records.DELIVERY, 'd.')} FROM deliveries d"


class DestinationReads(QueryBase):
    """That part of `ports.View`."""

    def addressee(self, job_id: str) -> WebhookTarget | None:
        """For whom its callback is; without reading what was asked beside it, which may be megabytes."""
        sql = """SELECT j.request_id, r.webhook_url, r.failure_webhook_url, r.webhook_headers
                 FROM jobs j JOIN requests r ON r.job_id = j.id WHERE j.id = ?"""
        if not (found := self._run(sql, (job_id,))):
            return None
        request_id, *urls, sealed = found[0]
        return WebhookTarget(
            request_id=request_id, urls=[url for url in urls if url is not None], headers=self._seal.decrypt(sealed)
        )

    def due_destinations(self) -> Sequence[DueDestination]:
        """For whom something waits, whether it is due yet or not."""
        found = self._run(_DUE_DESTINATIONS, ())
        return [DueDestination(destination=row[0], due_at=row[1], busy=row[2]) for row in found]

    def due_deliveries(self, destination: str, *, limit: int, newest: bool = False) -> Sequence[Delivery]:
        """What should be sent there now: the longest due first, or (`newest`) last."""
        order = "DESC" if newest else "ASC"
        sql = f"""{_DELIVERY} WHERE d.state = 'pending' AND d.destination = ? AND d.due_at <= ?
                  ORDER BY d.due_at {order} LIMIT ?"""
        return fetch_all(records.to_delivery, self._run(sql, (destination, self._now, limit)))

    def failing_addresses(self, destination: str, *, limit: int) -> dict[str, int]:
        """The addresses there that are tried again soon, and how often one of theirs has failed: of the next ones."""
        sql = """SELECT url, max(schedule_index) FROM (
                     SELECT url, schedule_index FROM deliveries WHERE state = 'pending' AND destination = ? AND due_at > ?
                     ORDER BY due_at LIMIT ?
                 ) AS later GROUP BY url"""
        return dict(self._run(sql, (destination, self._now, limit)))  # type: ignore[arg-type]

    def waiting_deliveries(self, destination: str, *, opened_before: float, limit: int) -> Sequence[Delivery]:
        """What has waited for it since before then."""
        sql = f"{_DELIVERY} WHERE d.state = 'pending' AND d.destination = ? AND d.opened_at <= ? LIMIT ?"
        return fetch_all(records.to_delivery, self._run(sql, (destination, opened_before, limit)))

    def waiting_for(self, destination: str) -> int:
        """How many deliveries wait for it."""
        sql = "SELECT count(*) FROM deliveries WHERE state = 'pending' AND destination = ?"
        return int(self._value(sql, (destination,)) or 0)

    def destination(self, name: str) -> Destination | None:
        """What is known against it; None for one that answers."""
        return fetch_one(records.to_destination, self._run(f"{_DESTINATION} WHERE name = ?", (name,)))

    def destinations(self) -> Sequence[Destination]:
        """All that have failed lately."""
        return fetch_all(records.to_destination, self._run(f"{_DESTINATION} ORDER BY name", ()))

    def gone_addresses(self, *, limit: int) -> dict[str, float]:
        """The addresses that have answered 410, and when; the latest of them."""
        return dict(self._run("SELECT url, at FROM gone ORDER BY at DESC LIMIT ?", (limit,)))  # type: ignore[arg-type]


class DestinationWrites(QueryBase):
    """That part of `ports.Unit`."""

    def save_destination(self, known: Destination) -> None:
        """Note what is known against a destination."""
        others = records.DESTINATION[1:]
        sql = records.insert("destinations", records.DESTINATION) + (
            f" ON CONFLICT (name) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in others)}"
        )
        self._run(sql, records.destination_values(known))

    def delete_destination(self, name: str) -> None:
        """It answers: nothing is known against it."""
        self._run("DELETE FROM destinations WHERE name = ?", (name,))

    def save_gone_address(self, url: str) -> None:
        """That address has answered 410."""
        sql = "INSERT INTO gone (url, at) VALUES (?, ?) ON CONFLICT (url) DO UPDATE SET at = excluded.at"
        self._run(sql, (url, self._now))

    def delete_gone_addresses(self, *, url: str | None = None, before: float = 0.0) -> None:
        """That address takes callbacks after all; or, what was noted before then is too old to count."""
        self._run("DELETE FROM gone WHERE url = ? OR at < ?", (url, before))
