"""What a sender does with deliveries: claim, and say what came of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..core import delivery as moves
from ..core.change import Event
from ..core.delivery import Delivery, DeliveryState, Reply
from ..core.job import Retain
from ..errors import LeaseLost
from ..ports import Posted, Unit
from .values import Tools, ToSend


class Post:
    """The use cases of a worker's senders."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store = tools.store

    def claim(
        self, worker: str, *, limit: int, per_destination: int, skip_destinations: Collection[str] = ()
    ) -> Sequence[ToSend]:
        """Up to `limit` due deliveries, with what they send; no more than `per_destination` at once to any one."""
        return self._store.write(lambda unit: self._claim(unit, worker, limit, per_destination, skip_destinations))

    def next_due(self) -> float | None:
        """When the next waiting delivery is due, in seconds since 1970, or was; None where none waits."""
        return self._store.read(lambda view: view.next_delivery_due())

    def settle(self, sent: ToSend, reply: Reply) -> Delivery:
        """Record one POST and what it means: delivered, again later, or dead. Raises `LeaseLost`."""
        tools = self._tools

        def move(unit: Unit) -> Delivery:
            delivery = _held(unit, sent.delivery)
            token = sent.delivery.lease.token if sent.delivery.lease else ""
            after = moves.settle(
                delivery, reply, token=token, policy=tools.policy, now=unit.now, chance=tools.random.random()
            )
            posted = Posted(delivery_id=delivery.id, number=after.attempts, at=unit.now, url=delivery.url, reply=reply)
            unit.save_delivery(after, delivery.version, _event(after, unit.now, reply), posted)
            if after.state.final:
                _erase_if_told(unit, delivery.job_id)
            return after

        return self._store.write(move)

    def release(self, sent: ToSend) -> None:
        """Hand one back unsent."""
        lease = sent.delivery.lease
        self.reap(sent.delivery.id, lease.token if lease else "")

    def reap(self, delivery_id: str, token: str) -> None:
        """Take one back from a sender that is gone; nothing, if it has moved on."""

        def move(unit: Unit) -> None:
            delivery = unit.delivery_by_id(delivery_id)
            if delivery is None or delivery.lease is None or delivery.lease.token != token:
                return
            after = moves.release(delivery, token=token)
            unit.save_delivery(after, delivery.version, _event(after, unit.now))

        self._store.write(move)

    def leases(self) -> Sequence[Delivery]:
        """Every delivery that is being sent, for whoever judges whether its sender lives."""
        return self._store.read(lambda view: view.sending())

    def renew(self, worker: str) -> None:
        """Extend that worker's leases."""
        seconds = self._tools.policy.webhook_lease
        self._store.write(lambda unit: unit.renew_deliveries(worker, unit.now + seconds))

    def _claim(
        self, unit: Unit, worker: str, limit: int, per_destination: int, skip: Collection[str]
    ) -> Sequence[ToSend]:
        claimed = []
        for due in unit.due_deliveries(limit=limit, per_destination=per_destination, skip_destinations=skip):
            lease = self._tools.lease(worker, unit.now, self._tools.policy.webhook_lease)
            delivery = moves.claim(due, lease=lease, now=unit.now)
            unit.save_delivery(delivery, due.version, _event(delivery, unit.now))
            job, request = unit.job(due.job_id), unit.request(due.job_id)
            claimed.append(
                ToSend(
                    delivery=delivery,
                    request_id=job.request_id if job else "",
                    body=unit.delivery_body(delivery),
                    headers=dict(request.webhook_headers) if request else {},
                )
            )

        return claimed


def _erase_if_told(unit: Unit, job_id: str) -> None:
    """`retain: metadata`: the content goes once the latest run is delivered, and nothing of any run is on its way."""
    job = unit.job(job_id)
    if job is None or job.retain is not Retain.METADATA or not job.state.final:
        return
    known = unit.deliveries(job_id)
    told = any(one.run == job.run and one.state is DeliveryState.DELIVERED for one in known)
    if told and all(one.state.final for one in known):
        unit.erase(job_id)


def _held(unit: Unit, known: Delivery) -> Delivery:
    delivery = unit.delivery_by_id(known.id)
    if delivery is None:
        raise LeaseLost(f"delivery {known.id} is gone")

    return delivery


def _event(after: Delivery, now: float, reply: Reply | None = None) -> Event:
    """`delivering`, `delivered`, `delivery_deferred` or `delivery_dead`, with what was answered."""
    names = {"sending": "delivering", "delivered": "delivered", "dead": "delivery_dead"}
    name = names.get(after.state.value, "delivery_deferred" if reply else "delivery_released")
    detail: dict[str, object] = {}
    if reply is not None:
        detail = {"statusCode": reply.status, "ms": reply.ms, "error": reply.error, "attempt": after.attempts}
        if name == "delivery_deferred":
            detail["dueAt"] = after.due_at

    return Event(job_id=after.job_id, subject=after.id, version=after.version, at=now, name=name, detail=detail)
