"""Use cases of the delivery sender: claim due deliveries, record attempts, renew and reap leases."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..core.collections import collection as rules
from ..core.collections.collection import MARK
from ..core.deliveries import destination as destinations
from ..core.deliveries import transitions
from ..core.deliveries.delivery import Delivery, DeliveryState, Reply, destination_of
from ..core.deliveries.destination import HealthSignal
from ..core.jobs.job import Retain
from ..core.jobs.submission import WebhookTarget
from ..core.lazy_dataclass import dataclass
from ..core.wire import timestamp
from ..errors import Damaged, LeaseLost
from . import damage
from .due_floors import DueFloors
from .holds import paused_destinations
from .transactions import query, transaction
from .types import ClaimedDelivery

if TYPE_CHECKING:
    from ..core.deliveries.destination import Destination, DueDestination
    from ..ports import ReadTransaction, Transaction
    from .context import Context
    from .gone_endpoints import GoneEndpoints

#: A delivery that was sent, and the reply to it.
SentReply = tuple[ClaimedDelivery, Reply]

_STEP = 100
#: Deliveries at both ends of the due ones that are read to choose the probe of a destination.
_PROBE_CANDIDATES = 100


@dataclass(frozen=True, kw_only=True)
class _Room:
    """The deliveries that a worker may claim: see `Deliveries.exchange` and `destinations.allocate`."""

    worker: str
    limit: int
    senders: int
    at_once: int
    quick: Mapping[str, int]

    def most(self, name: str) -> int:
        """The most deliveries to a destination that a claim may read."""
        return min(self.limit, max(destinations.CLAIMED_AHEAD, self.at_once) if name in self.quick else self.at_once)

    def at_a_time(self, name: str, busy: int) -> int:
        """The POSTs that may be made at a time to a destination of which `busy` deliveries are leased."""
        return destinations.at_once_beside(busy=busy, own=self.quick.get(name, busy))


class Deliveries:
    """The use cases of a worker's senders."""

    def __init__(self, context: Context, gone: GoneEndpoints) -> None:
        self._context, self._gone_endpoints = context, gone
        self._store = context.store
        self._seen_due: Sequence[DueDestination] = ()  # by the last look: what a claim will probably read
        self._floors = DueFloors()
        self._has_erasable_rows = False

    def claim(
        self, worker: str, *, limit: int, senders: int | None = None, at_once: int = destinations.MAX_CONCURRENT
    ) -> Sequence[ClaimedDelivery]:
        """
        Claim up to `limit` due deliveries with their bodies: a fair share for each destination that has capacity.

        `limit` is the number of the worker's `senders` that are free.
        """
        return self.exchange(worker, (), limit=limit, senders=senders, at_once=at_once)[1]

    def exchange(
        self,
        worker: str,
        replies: Sequence[SentReply],
        *,
        limit: int,
        senders: int | None = None,
        at_once: int = destinations.MAX_CONCURRENT,
        quick: Mapping[str, int] = MappingProxyType({}),
    ) -> tuple[Sequence[Delivery | LeaseLost], Sequence[ClaimedDelivery]]:
        """
        Record those POSTs and claim further deliveries, in one commit.

        `quick`: see `destinations.allocate`; `ClaimedDelivery.at_once` of what is claimed may be sent at a time.
        Returns the recorded deliveries in the order of `replies`, a lost lease in its place, and the claimed ones.
        """
        room = _Room(worker=worker, limit=limit, senders=senders or limit, at_once=at_once, quick=quick)

        return self._exchange(replies, room)

    @query
    def seconds_until_due(self, tx: ReadTransaction) -> float | None:
        """
        Until a delivery may be sent; None where none waits for a time.

        By the clock of the store: that of this machine may be another one.
        """
        due = self._seen_due = _due_destinations(tx, self._floors.at(tx.now))
        due_at = destinations.next_check_at(due, _failing_destinations(tx)) if due else None

        return None if due_at is None else due_at - tx.now

    def _look_up_attempt(self, reads: ReadTransaction, sent: ClaimedDelivery, reply: Reply) -> None:
        reads.delivery_of_run(sent.delivery.job_id, sent.delivery.run)
        reads.destination(sent.delivery.destination)
        reads.job(sent.delivery.job_id)

    @transaction(patient=True, ahead=_look_up_attempt)
    def record_attempt(self, tx: Transaction, sent: ClaimedDelivery, reply: Reply) -> Delivery:
        """Save one POST and its consequence: delivered, retried later, or dead. Raises `LeaseLost`."""
        return self._record_attempt(tx, sent, reply)

    def _record_attempt(self, tx: Transaction, sent: ClaimedDelivery, reply: Reply) -> Delivery:
        delivery = tx.delivery_of_run(sent.delivery.job_id, sent.delivery.run)
        if delivery is None:
            raise LeaseLost(f"delivery {sent.delivery.id} was purged")
        chance = self._context.rng.random()
        change = transitions.record_attempt(
            delivery, reply, token=_token(sent), policy=self._context.policy, now=tx.now, chance=chance
        )
        tx.save_delivery(change)
        _record_health(tx, delivery.destination, reply, chance)
        self._gone_endpoints.record(tx, delivery.url, reply.status)
        if change.delivery.state.final and _erase_if_delivered(tx, delivery.job_id):
            self._has_erasable_rows = True

        return change.delivery

    def take_erasable_rows(self) -> bool:
        """Whether rows may be erased, as this process sent the callback of their collection since the last call."""
        has_rows, self._has_erasable_rows = self._has_erasable_rows, False

        return has_rows

    def release(self, sent: ClaimedDelivery) -> None:
        """Return a claimed delivery unsent."""
        self.reap(sent.delivery, _token(sent))

    @transaction
    def reap(self, tx: Transaction, sending: Delivery, token: str) -> None:
        """Take a delivery back from a dead sender; does nothing once it has another lease."""
        delivery = tx.delivery_of_run(sending.job_id, sending.run)
        if delivery is not None and delivery.lease is not None and delivery.lease.token == token:
            tx.save_delivery(transitions.release(delivery, token=token, now=tx.now))

    @query
    def sending(self, tx: ReadTransaction) -> Sequence[Delivery]:
        """All deliveries that are being sent, to check whether their senders are alive."""
        return tx.sending_deliveries()

    def renew(self, sent: Iterable[ClaimedDelivery]) -> None:
        """Extend the leases of the deliveries that are being sent."""
        tokens = [item.delivery.lease.token for item in sent if item.delivery.lease is not None]
        if tokens:
            self._renew(tokens)

    def expire_stalled(self) -> int:
        """
        Give up deliveries that have waited for a silent destination longer than their schedule; returns their number.

        The results are kept and listed, and can be redelivered.
        """
        expired = 0
        for name in self._slowed_destinations():
            while step := self._expire_step(name):
                expired += step

        return expired

    def _look_up_exchange(self, reads: ReadTransaction, replies: Sequence[SentReply], room: _Room) -> None:
        """Guesses that every destination is healthy and that nothing changed since the last look."""
        for sent, reply in replies:
            self._look_up_attempt(reads, sent, reply)
        _failing_destinations(reads)
        floors = self._floors.floors
        _due_destinations(reads, floors)
        for due in sorted(self._seen_due, key=lambda due: due.due_at)[: room.limit]:
            _first_due(reads, due.destination, floors, limit=room.most(due.destination))

    @transaction(ahead=_look_up_exchange)
    def _exchange(
        self, tx: Transaction, replies: Sequence[SentReply], room: _Room
    ) -> tuple[Sequence[Delivery | LeaseLost], Sequence[ClaimedDelivery]]:
        # The claim first: it looks at whole tables, which the writes of an attempt would make it do again.
        claimed = self._claim(tx, room, _freed(tx, replies)) if room.limit else ()

        return [self._record_or_lost(tx, sent, reply) for sent, reply in replies], claimed

    def _record_or_lost(self, tx: Transaction, sent: ClaimedDelivery, reply: Reply) -> Delivery | LeaseLost:
        try:
            return self._record_attempt(tx, sent, reply)
        except LeaseLost as exc:  # raised before anything is written
            return exc

    def _claim(self, tx: Transaction, room: _Room, freed: Counter[str]) -> Sequence[ClaimedDelivery]:
        failing = _failing_destinations(tx)
        floors = self._floors.at(tx.now)
        dues = self._seen_due = _due_destinations(tx, floors)
        self._floors.update(dues, known=floors, now=tx.now)
        dues = [
            due if due.destination in failing else replace(due, busy=max(0, due.busy - freed[due.destination]))
            for due in dues
        ]
        shares = destinations.allocate(
            dues,
            failing,
            free=room.limit,
            senders=room.senders,
            at_once=room.at_once,
            quick=room.quick,
            now=tx.now,
        )
        busy = {due.destination: due.busy for due in dues}
        claimed: list[ClaimedDelivery] = []
        for name, share in shares.items():
            destination, at_once = failing.get(name), room.at_a_time(name, busy[name])
            healthy = destination is None or not (destination.slowed or destination.recovering)
            if healthy:  # read up to the same number each time: it is announced before the shares are known
                due = _first_due(tx, name, floors, limit=room.most(name))[:share]
            else:
                due = _best_probes(tx, name, share)
            tx.prefetch(functools.partial(_look_up_deliveries, due=due))
            for delivery in due:
                try:
                    claimed.append(self._claim_delivery(tx, delivery, room.worker, at_once))
                except Damaged as exc:
                    damage.note(tx, exc)
                    with contextlib.suppress(Damaged):  # its event has no job to belong to: the row of that is lost
                        tx.save_delivery(transitions.give_up(delivery, why=f"not sent: {exc}", now=tx.now))
            if destination is not None and destination.recovering:
                tx.save_destination(destinations.spend_pace(destination, len(due), now=tx.now))

        return claimed

    def _claim_delivery(self, tx: Transaction, due: Delivery, worker: str, at_once: int) -> ClaimedDelivery:
        if not due.intact:
            raise Damaged(f"the delivery or the stored webhook address of job {due.job_id}")
        if (target := tx.webhook_target(due.job_id)) is None:
            if tx.job(due.job_id) is None:
                raise Damaged(f"the row of job {due.job_id}")
            target = WebhookTarget(request_id="", urls=(), headers={})
        if not (body := tx.delivery_body(due)):
            raise Damaged(f"the stored callback of job {due.job_id}")
        lease = self._context.lease(worker, tx.now, self._context.policy.webhook_lease)
        change = transitions.claim(due, lease=lease, now=tx.now)
        tx.save_delivery(change)
        if due.destination not in map(destination_of, target.urls):
            # Headers often are API keys: only the destinations that were named with them get them.
            target = replace(target, headers={})

        return ClaimedDelivery(delivery=change.delivery, target=target, body=body, at_once=at_once)

    @transaction
    def _renew(self, tx: Transaction, tokens: Sequence[str]) -> None:
        tx.renew_deliveries(tokens, tx.now + self._context.policy.webhook_lease)

    @query
    def _slowed_destinations(self, tx: ReadTransaction) -> list[str]:
        paused = paused_destinations(tx)  # a pause costs no delivery its time

        return [each.name for each in tx.destinations() if each.slowed and each.name not in paused]

    @transaction
    def _expire_step(self, tx: Transaction, name: str) -> int:
        schedule = self._context.policy.webhook_schedule
        destination = tx.destination(name)
        if destination is None or destination.failing_since is None:
            return 0
        opened_before = tx.now - destinations.max_wait(schedule)
        expired = [
            delivery
            for delivery in tx.waiting_deliveries(name, opened_before=opened_before, limit=_STEP)
            if destinations.may_expire(destination, opened_at=delivery.opened_at, schedule=schedule, now=tx.now)
        ]
        why = f"given up: {name} keeps failing since {timestamp(destination.failing_since)} ({destination.last_error})"
        for delivery in expired:
            tx.save_delivery(transitions.give_up(delivery, why=why, now=tx.now))
            _erase_if_delivered(tx, delivery.job_id)

        return len(expired)


def _freed(tx: ReadTransaction, replies: Sequence[SentReply]) -> Counter[str]:
    """
    The number of those POSTs by destination that take no capacity any more, though their rows say so.

    After a failure the claim waits until its meaning for the destination is recorded.
    """
    freed: Counter[str] = Counter()
    for sent, reply in replies:
        row = tx.delivery_of_run(sent.delivery.job_id, sent.delivery.run)
        leased = row is not None and row.lease is not None and row.lease.token == _token(sent)
        if leased and destinations.health_signal(reply) is HealthSignal.ALIVE:
            freed[sent.delivery.destination] += 1

    return freed


def _look_up_deliveries(reads: ReadTransaction, due: Sequence[Delivery]) -> None:
    for delivery in due:
        reads.webhook_target(delivery.job_id)
        reads.delivery_body(delivery)


def _token(sent: ClaimedDelivery) -> str:
    return sent.delivery.lease.token if sent.delivery.lease else ""


def _due_destinations(tx: ReadTransaction, floors: Mapping[str, float]) -> Sequence[DueDestination]:
    """The destinations with pending deliveries, without those that an operator has paused."""
    paused = paused_destinations(tx)

    return [due for due in tx.due_destinations(floors) if due.destination not in paused]


def _first_due(tx: ReadTransaction, name: str, floors: Mapping[str, float], *, limit: int) -> Sequence[Delivery]:
    """The deliveries to a destination that are due for longest."""
    return tx.due_deliveries(name, limit=limit, since=floors.get(name, float("-inf")))


def _failing_destinations(tx: ReadTransaction) -> dict[str, Destination]:
    return {destination.name: destination for destination in tx.destinations()}


def _best_probes(tx: Transaction, name: str, count: int) -> Sequence[Delivery]:
    """The deliveries to send to a destination that may still be failing."""
    oldest = tx.due_deliveries(name, limit=_PROBE_CANDIDATES)
    newest = tx.due_deliveries(name, limit=_PROBE_CANDIDATES, newest=True)
    due = {delivery.id: delivery for delivery in (*oldest, *newest)}
    failing = tx.failing_urls(name, limit=_PROBE_CANDIDATES)

    return destinations.order_for_probe(due.values(), failing)[:count]


def _record_health(tx: Transaction, name: str, reply: Reply, chance: float) -> None:
    """Apply a reply to the health of its destination."""
    current = tx.destination(name)
    updated = destinations.record_reply(current, name, reply, now=tx.now, chance=chance)
    if updated == current:
        return
    if updated is None or (updated.recovering and not tx.due_deliveries(name, limit=1)):
        tx.delete_destination(name)  # it answers, and no delivery waits for it any more
    else:
        tx.save_destination(updated)


def _erase_if_delivered(tx: Transaction, job_id: str) -> bool:
    """
    Erase the content of a `retain: metadata` job once its latest run is delivered and no delivery is pending.

    Returns whether it is that of a collection, whose rows follow in steps.
    """
    job = tx.job(job_id)
    if job is None or job.retain is not Retain.METADATA or job.collection is not None:
        return False  # a row is erased with its collection
    is_collection = job.request_id.endswith(MARK)
    if not job.state.final and not is_collection:
        return False
    deliveries = tx.deliveries(job_id)
    delivered = any(item.run == job.run and item.state is DeliveryState.DELIVERED for item in deliveries)
    if not delivered or not all(item.state.final for item in deliveries):
        return False
    tx.erase_content(job_id)
    if is_collection and (collection := tx.collection(job_id)) is not None:
        tx.save_collection(rules.erase(collection))  # its callback has the answers of its rows

    return is_collection
