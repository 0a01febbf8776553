"""What a sender does with deliveries: claim, and say what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..core import delivery as moves
from ..core import destination as destinations
from ..core.change import Event
from ..core.delivery import Delivery, DeliveryState, Reply, destination_of
from ..core.destination import Destination
from ..core.job import Retain
from ..core.wire import timestamp
from ..errors import LeaseLost
from ..ports import Posted, Unit, View
from .gone import GoneAddresses
from .values import Tools, ToSend

_STEP = 100
#: How many of those longest and newest due are looked at, to find the best one to try a destination with.
_END = 100


class Post:
    """The use cases of a worker's senders."""

    def __init__(self, tools: Tools, gone: GoneAddresses) -> None:
        self._tools, self._gone = tools, gone
        self._store = tools.store

    def claim(
        self, worker: str, *, limit: int, senders: int | None = None, at_once: int = destinations.AT_ONCE
    ) -> Sequence[ToSend]:
        """
        Up to `limit` due deliveries, with what they send: a fair share for each destination that may be called.

        `limit` is how many of the worker's `senders` are free.
        """
        return self._store.write(lambda unit: self._claim(unit, worker, limit, senders or limit, at_once))

    def next_due(self) -> float | None:
        """When something may be sent at the earliest, in seconds since 1970; None where nothing waits for a time."""

        def look(view: View) -> float | None:
            dues = view.due_destinations()
            return destinations.next_look(dues, _by_name(view)) if dues else None

        return self._store.read(look)

    def settle(self, sent: ToSend, reply: Reply) -> Delivery:
        """Record one POST and what it means: delivered, again later, or dead. Raises `LeaseLost`."""
        tools = self._tools

        def move(unit: Unit) -> Delivery:
            delivery = _held(unit, sent.delivery)
            token = sent.delivery.lease.token if sent.delivery.lease else ""
            chance = tools.random.random()
            after = moves.settle(delivery, reply, token=token, policy=tools.policy, now=unit.now, chance=chance)
            posted = Posted(
                delivery_id=delivery.id,
                number=after.attempts,
                at=unit.now,
                url=delivery.url,
                reply=reply,
                next_due=None if after.state.final else after.due_at,
            )
            unit.save_delivery(after, delivery.version, _event(after, unit.now, reply), posted)
            _note(unit, delivery.destination, reply, chance)
            self._gone.heard(unit, delivery.url, reply.status)
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

    def renew(self, sent: Iterable[ToSend]) -> None:
        """Extend the leases of what is being sent."""
        tokens = [one.delivery.lease.token for one in sent if one.delivery.lease is not None]
        seconds = self._tools.policy.webhook_lease
        if tokens:
            self._store.write(lambda unit: unit.renew_deliveries(tokens, unit.now + seconds))

    def give_up(self) -> int:
        """
        Let go of what has waited for a silent destination for longer than its schedule; answers how many that were.

        The results are kept, listed and free to redeliver.
        """
        schedule = self._tools.policy.webhook_schedule
        silent = [one for one in self._store.read(lambda view: view.destinations()) if one.slowed]
        given_up = 0
        for one in silent:
            while step := self._store.write(lambda unit, name=one.name: _give_up(unit, name, schedule)):  # type: ignore[misc]
                given_up += step

        return given_up

    def _claim(self, unit: Unit, worker: str, limit: int, senders: int, at_once: int) -> Sequence[ToSend]:
        known = _by_name(unit)
        shares = destinations.shares(
            unit.due_destinations(), known, free=limit, senders=senders, at_once=at_once, now=unit.now
        )
        claimed: list[ToSend] = []
        for name, share in shares.items():
            there = known.get(name)
            trusted = there is None or not (there.slowed or there.recovering)
            due = unit.due_deliveries(name, limit=share) if trusted else _least_suspect(unit, name, share)
            claimed.extend(self._take(unit, one, worker) for one in due)
            if there is not None and there.recovering:
                unit.save_destination(destinations.took(there, len(due), now=unit.now))

        return claimed

    def _take(self, unit: Unit, due: Delivery, worker: str) -> ToSend:
        lease = self._tools.lease(worker, unit.now, self._tools.policy.webhook_lease)
        delivery = moves.claim(due, lease=lease, now=unit.now)
        unit.save_delivery(delivery, due.version, _event(delivery, unit.now))
        told = unit.addressee(due.job_id)
        meant = told is not None and delivery.destination in map(destination_of, told.urls)

        return ToSend(
            delivery=delivery,
            request_id=told.request_id if told else "",
            body=unit.delivery_body(delivery),
            # They are keys as often as not: nobody gets them but the receiver they were given for.
            headers=told.headers if told and meant else {},
        )


def _by_name(view: View) -> dict[str, Destination]:
    return {one.name: one for one in view.destinations()}


def _least_suspect(unit: Unit, name: str, count: int) -> Sequence[Delivery]:
    """What to send to a destination of which it is not known whether it answers again."""
    ends = (*unit.due_deliveries(name, limit=_END), *unit.due_deliveries(name, limit=_END, newest=True))
    due = {one.id: one for one in ends}

    return destinations.least_suspect(due.values(), unit.failing_addresses(name, limit=_END))[:count]


def _note(unit: Unit, name: str, reply: Reply, chance: float) -> None:
    """What the reply says of the destination."""
    known = unit.destination(name)
    after = destinations.heard(known, name, reply, now=unit.now, chance=chance)
    if after == known:
        return
    if after is None or (after.recovering and not unit.due_deliveries(name, limit=1)):
        unit.forget_destination(name)  # it answers, and nothing waits for it any more
    else:
        unit.save_destination(after)


def _give_up(unit: Unit, name: str, schedule: Sequence[float]) -> int:
    known = unit.destination(name)
    if known is None or known.failing_since is None:
        return 0
    opened_before = unit.now - destinations.longest_wait(schedule)
    old = [
        one
        for one in unit.waiting_deliveries(name, opened_before=opened_before, limit=_STEP)
        if destinations.may_be_given_up(known, opened_at=one.opened_at, schedule=schedule, now=unit.now)
    ]
    for one in old:
        why = f"given up: {name} keeps failing since {timestamp(known.failing_since)} ({known.last_error})"
        after = moves.give_up(one, why=why, now=unit.now)
        unit.save_delivery(after, one.version, _event(after, unit.now, Reply(error=why)))
        _erase_if_told(unit, one.job_id)

    return len(old)


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
