"""Deliveries: one per run with a webhook, its frozen body, and every POST made for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ...core.digests import digest, matches
from ...errors import Conflict, Damaged
from . import records
from .events import EventWrites
from .query import QueryBase, placeholders
from .tallies import TallyWrites, of_delivery

if TYPE_CHECKING:
    from ...core.deliveries.delivery import Delivery, DeliveryAttempt
    from ...core.deliveries.transitions import DeliveryChange

_DELIVERY = f"SELECT {records.columns(records.DELIVERY, 'd.')} FROM deliveries d"
_ADD_DELIVERY = records.insert("deliveries", records.DELIVERY)
_ADD_ATTEMPT = records.insert("posts", "delivery_id number at url status ms reply error next_due".split())


class DeliveryReads(QueryBase):
    """Implements `ports.store.DeliveryReads`."""

    def delivery(self, job_id: str) -> Delivery | None:
        """The delivery of the job's latest run."""
        sql = f"{_DELIVERY} WHERE d.job_id = ? ORDER BY d.run DESC LIMIT 1"
        return self._fetch_first(records.to_delivery, sql, (job_id,))

    def latest_deliveries(self, job_ids: Collection[str]) -> dict[str, Delivery]:
        """The deliveries of the latest runs of several jobs, by job."""
        sql = f"{_DELIVERY} WHERE d.job_id IN ({placeholders(job_ids)}) ORDER BY d.run"
        return {each.job_id: each for each in self._fetch_all(records.to_delivery, sql, tuple(job_ids))}

    def deliveries(self, job_id: str) -> Sequence[Delivery]:
        """The deliveries of a job, one per run, oldest first."""
        return self._fetch_all(records.to_delivery, f"{_DELIVERY} WHERE d.job_id = ? ORDER BY d.run", (job_id,))

    def delivery_of_run(self, job_id: str, run: int) -> Delivery | None:
        """The delivery of one run."""
        return self._fetch_first(records.to_delivery, f"{_DELIVERY} WHERE d.job_id = ? AND d.run = ?", (job_id, run))

    def delivery_body(self, delivery: Delivery) -> bytes:
        """The frozen bytes that a delivery sends: its own, or those of the outcome. Raises `Damaged`."""
        own = self._run("SELECT body, digest FROM delivery_bodies WHERE delivery_id = ?", (delivery.id,))
        if own:
            [(body, stored)] = own
            if not matches(stored, (delivery.id, bytes(body))):
                raise Damaged(f"the stored callback of job {delivery.job_id}")
            return bytes(body)
        sql = "SELECT job_id, run, at, status, body, digest FROM outcomes WHERE job_id = ? AND run = ?"
        outcome = self._fetch_first(records.to_outcome, sql, (delivery.job_id, delivery.run))
        return b"" if outcome is None else outcome.body

    def sending_deliveries(self) -> Sequence[Delivery]:
        """Deliveries that are leased to a sender."""
        return self._fetch_all(records.to_delivery, f"{_DELIVERY} WHERE d.state = 'sending'")

    def delivery_attempts(self, job_id: str) -> Sequence[DeliveryAttempt]:
        """Every POST made for a job, oldest first."""
        sql = """SELECT p.delivery_id, p.number, p.at, p.url, p.status, p.ms, p.reply, p.error, p.next_due
                 FROM deliveries d JOIN posts p ON p.delivery_id = d.id WHERE d.job_id = ? ORDER BY p.at, p.number"""
        return self._fetch_all(records.to_attempt, sql, (job_id,))


class DeliveryWrites(EventWrites, TallyWrites):
    """Implements `ports.store.DeliveryWrites`."""

    def add_delivery(self, delivery: Delivery) -> None:
        """Open a delivery."""
        self._run(_ADD_DELIVERY, records.delivery_values(delivery))
        self._moved(None, of_delivery(delivery))
        if delivery.body is not None:
            sql = "INSERT INTO delivery_bodies (delivery_id, body, digest) VALUES (?, ?, ?)"
            self._run(sql, (delivery.id, delivery.body, digest(delivery.id, delivery.body)))

    def save_delivery(self, change: DeliveryChange) -> None:
        """Save the next version of a delivery, with the POST that led to it. Raises `Conflict` after another change."""
        delivery = change.delivery
        sql, values = records.delivery_update(change.previous, delivery)
        if not self._run(sql, (*values, delivery.job_id, delivery.run, change.expects)):
            raise Conflict("the delivery was changed at the same time; try again")
        self._moved(of_delivery(change.previous), of_delivery(delivery))
        self._add_event(change.event)
        if (attempt := change.attempt) is not None:
            reply = attempt.reply
            values = (attempt.at, attempt.url, reply.status, reply.ms, reply.excerpt, reply.error, attempt.next_due)
            self._run(_ADD_ATTEMPT, (attempt.delivery_id, attempt.number, *values))

    def renew_deliveries(self, tokens: Sequence[str], expires_at: float) -> None:
        """Extend the leases with those tokens."""
        sql = f"""UPDATE deliveries SET lease_expires_at = ?
                  WHERE state = 'sending' AND lease_token IN ({placeholders(tokens)})"""
        self._run(sql, (expires_at, *tokens))
