"""What a sender does with deliveries: claim, and say what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..core.deliveries import delivery as moves
from ..core.deliveries import destination as destinations
from ..core.deliveries.delivery import Delivery, DeliveryState, Reply, destination_of
from ..core.deliveries.destination import Destination
from ..core.jobs.change import Event
from ..core.jobs.job import Retain
from ..core.wire import timestamp
from ..errors import LeaseLost
from ..ports import DeliveryAttempt, ReadTransaction, Transaction
from .context import Context
from .gone_endpoints import GoneEndpoints
from .types import ClaimedDelivery

_STEP = 100
#: How many of those longest and newest due are looked at, to find the best one to try a destination with.
_END = 100


class Deliveries:
    """The use cases of a worker's senders."""

    def __init__(self, context: Context, gone: GoneEndpoints) -> None:
        self._context, self._gone = context, gone
        self._store = context.store

    def claim(
        self, worker: str, *, limit: int, senders: int | None = None, at_once: int = destinations.MAX_CONCURRENT
    ) -> Sequence[ClaimedDelivery]:
        """
        Up to `limit` due deliveries, with what they send: a fair share for each destination that may be called.

        `limit` is how many of the worker's `senders` are free.
        """
        return self._store.write(lambda tx: self._claim(tx, worker, limit, senders or limit, at_once))

    def next_due(self) -> float | None:
        """When something may be sent at the earliest, in seconds since 1970; None where nothing waits for a time."""

        def look(tx: ReadTransaction) -> float | None:
            dues = tx.due_destinations()
            return destinations.next_check_at(dues, _by_name(tx)) if dues else None

        return self._store.read(look)

    def record_attempt(self, sent: ClaimedDelivery, reply: Reply) -> Delivery:
        """Record one POST and what it means: delivered, again later, or dead. Raises `LeaseLost`."""
        context = self._context

        def move(tx: Transaction) -> Delivery:
            delivery = _held(tx, sent.delivery)
            token = sent.delivery.lease.token if sent.delivery.lease else ""
            chance = context.rng.random()
            after = moves.record_attempt(delivery, reply, token=token, policy=context.policy, now=tx.now, chance=chance)
            posted = DeliveryAttempt(
                delivery_id=delivery.id,
                number=after.attempts,
                at=tx.now,
                url=delivery.url,
                reply=reply,
                next_due=None if after.state.final else after.due_at,
            )
            tx.save_delivery(after, delivery.version, _event(after, tx.now, reply), posted)
            _note(tx, delivery.destination, reply, chance)
            self._gone.record(tx, delivery.url, reply.status)
            if after.state.final:
                _erase_if_told(tx, delivery.job_id)
            return after

        return self._store.write(move)

    def release(self, sent: ClaimedDelivery) -> None:
        """Hand one back unsent."""
        lease = sent.delivery.lease
        self.reap(sent.delivery.id, lease.token if lease else "")

    def reap(self, delivery_id: str, token: str) -> None:
        """Take one back from a sender that is gone; nothing, if it has moved on."""

        def move(tx: Transaction) -> None:
            delivery = tx.delivery_by_id(delivery_id)
            if delivery is None or delivery.lease is None or delivery.lease.token != token:
                return
            after = moves.release(delivery, token=token)
            tx.save_delivery(after, delivery.version, _event(after, tx.now))

        self._store.write(move)

    def sending(self) -> Sequence[Delivery]:
        """Every delivery that is being sent, for whoever judges whether its sender lives."""
        return self._store.read(lambda tx: tx.sending_deliveries())

    def renew(self, sent: Iterable[ClaimedDelivery]) -> None:
        """Extend the leases of what is being sent."""
        tokens = [one.delivery.lease.token for one in sent if one.delivery.lease is not None]
        seconds = self._context.policy.webhook_lease
        if tokens:
            self._store.write(lambda tx: tx.renew_deliveries(tokens, tx.now + seconds))

    def expire_stalled(self) -> int:
        """
        Let go of what has waited for a silent destination for longer than its schedule; answers how many that were.

        The results are kept, listed and free to redeliver.
        """
        schedule = self._context.policy.webhook_schedule
        silent = [one for one in self._store.read(lambda tx: tx.destinations()) if one.slowed]
        given_up = 0
        for one in silent:
            while step := self._store.write(lambda tx, name=one.name: _give_up(tx, name, schedule)):  # type: ignore[misc]
                given_up += step

        return given_up

    def _claim(self, tx: Transaction, worker: str, limit: int, senders: int, at_once: int) -> Sequence[ClaimedDelivery]:
        known = _by_name(tx)
        shares = destinations.allocate(
            tx.due_destinations(), known, free=limit, senders=senders, at_once=at_once, now=tx.now
        )
        claimed: list[ClaimedDelivery] = []
        for name, share in shares.items():
            there = known.get(name)
            trusted = there is None or not (there.slowed or there.recovering)
            due = tx.due_deliveries(name, limit=share) if trusted else _least_suspect(tx, name, share)
            claimed.extend(self._take(tx, one, worker) for one in due)
            if there is not None and there.recovering:
                tx.save_destination(destinations.spend_pace(there, len(due), now=tx.now))

        return claimed

    def _take(self, tx: Transaction, due: Delivery, worker: str) -> ClaimedDelivery:
        lease = self._context.lease(worker, tx.now, self._context.policy.webhook_lease)
        delivery = moves.claim(due, lease=lease, now=tx.now)
        tx.save_delivery(delivery, due.version, _event(delivery, tx.now))
        told = tx.addressee(due.job_id)
        meant = told is not None and delivery.destination in map(destination_of, told.urls)

        return ClaimedDelivery(
            delivery=delivery,
            request_id=told.request_id if told else "",
            body=tx.delivery_body(delivery),
            # They are keys as often as not: nobody gets them but the receiver they were given for.
            headers=told.headers if told and meant else {},
        )


def _by_name(tx: ReadTransaction) -> dict[str, Destination]:
    return {one.name: one for one in tx.destinations()}


def _least_suspect(tx: Transaction, name: str, count: int) -> Sequence[Delivery]:
    """What to send to a destination of which it is not known whether it answers again."""
    ends = (*tx.due_deliveries(name, limit=_END), *tx.due_deliveries(name, limit=_END, newest=True))
    due = {one.id: one for one in ends}

    return destinations.order_for_probe(due.values(), tx.failing_addresses(name, limit=_END))[:count]


def _note(tx: Transaction, name: str, reply: Reply, chance: float) -> None:
    """What the reply says of the destination."""
    known = tx.destination(name)
    after = destinations.record_reply(known, name, reply, now=tx.now, chance=chance)
    if after == known:
        return
    if after is None or (after.recovering and not tx.due_deliveries(name, limit=1)):
        tx.delete_destination(name)  # it answers, and nothing waits for it any more
    else:
        tx.save_destination(after)


def _give_up(tx: Transaction, name: str, schedule: Sequence[float]) -> int:
    known = tx.destination(name)
    if known is None or known.failing_since is None:
        return 0
    opened_before = tx.now - destinations.max_wait(schedule)
    old = [
        one
        for one in tx.waiting_deliveries(name, opened_before=opened_before, limit=_STEP)
        if destinations.may_expire(known, opened_at=one.opened_at, schedule=schedule, now=tx.now)
    ]
    for one in old:
        why = f"given up: {name} keeps failing since {timestamp(known.failing_since)} ({known.last_error})"
        after = moves.expire_stalled(one, why=why, now=tx.now)
        tx.save_delivery(after, one.version, _event(after, tx.now, Reply(error=why)))
        _erase_if_told(tx, one.job_id)

    return len(old)


def _erase_if_told(tx: Transaction, job_id: str) -> None:
    """`retain: metadata`: the content goes once the latest run is delivered, and nothing of any run is on its way."""
    job = tx.job(job_id)
    if job is None or job.retain is not Retain.METADATA or not job.state.final:
        return
    known = tx.deliveries(job_id)
    told = any(one.run == job.run and one.state is DeliveryState.DELIVERED for one in known)
    if told and all(one.state.final for one in known):
        tx.erase_content(job_id)


def _held(tx: Transaction, known: Delivery) -> Delivery:
    delivery = tx.delivery_by_id(known.id)
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
