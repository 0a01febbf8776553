"""Cancel, retry and redeliver collections, and the work that a dead process left half done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..core import alerts
from ..core.collections import collection as rules
from ..core.collections.collection import OPEN_FOR, STORING_TIMEOUT, Collection, Phase
from ..core.deliveries import destination as destinations
from ..core.deliveries import transitions as delivery_transitions
from ..core.jobs import endings
from ..core.jobs.change import transition
from ..core.jobs.events import EventName
from ..core.jobs.job import UNFINISHED, Job, Retain, State
from ..core.wire import encode
from ..errors import Conflict, InvalidRequest
from . import outcomes
from .clock_step import cutoff
from .collection_end import new_delivery, settle
from .collection_rows import discard_step
from .collections import CollectionRef, get_collection
from .job_actions import cancel_job, poll_if_unawaited, retry_job
from .transactions import query, transaction

if TYPE_CHECKING:
    from ..core.deliveries.delivery import Delivery
    from ..ports import ReadTransaction, Transaction
    from .context import Context

#: Rows of one transaction: another writer waits for that many at most.
_STEP = 50
#: Seconds after which an action answers while rows are left, and after which upkeep goes on with these.
_ANSWERS_AFTER, _CONTINUED_AFTER = 1.0, 5.0
#: Rows that an action takes itself in any case, so that a small collection has ended with the answer.
_AT_LEAST = 200
_ENDED_BADLY = (State.FAILED, State.CANCELLED)
_WAITING = tuple(state for state in UNFINISHED if state is not State.RUNNING)


class CollectionActions:
    """Actions on a collection that its owner asks for, in steps that let other writers through."""

    def __init__(self, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context, self._clock = context, clock
        self._store = context.store

    def cancel(self, ref: CollectionRef) -> None:
        """
        Start no more rows, stop those that run, and end those that wait; raises `Conflict` once it has ended.

        Of a large collection the worker ends what is left after a second.
        """
        identity = self._begin_cancel(ref)
        with contextlib.suppress(Conflict):  # the worker is at the same rows
            self._cancel_rows(identity)
        self._context.notifier.notify()

    def retry(self, ref: CollectionRef, rows: Sequence[int] | None = None) -> None:
        """
        Begin the next generation: those rows again, or all failed ones. It costs tokens.

        Of a large collection the worker queues what is left after a second.
        """
        identity = self._begin_retry(ref, None if rows is None else tuple(sorted(set(rows))))
        with contextlib.suppress(Conflict):  # the worker is at the same rows
            if self._queue_rows(identity) and self._is_cancelled(identity):  # meanwhile
                self._cancel_rows(identity)
        self._context.notifier.notify()

    def redeliver(self, ref: CollectionRef, *, url: str | None = None) -> Delivery:
        """Send the callback of the present generation again: free."""
        delivery = self._redeliver(ref, url)
        self._context.notifier.notify()

        return delivery

    def tend(self) -> Sequence[str]:
        """
        Go on with what a process left: one that died, or one that has answered.

        Also close what stays open for too long, and fail the rows above a maximum cost. Returns the collectionIds that
        were closed.
        """
        closed: list[str] = []
        if not self._has_work():
            return closed
        for identity in self._stale():
            while self._discard_step(identity):
                pass
        for collection in self._in_progress(Phase.RETRYING):
            self._queue_rows(collection.id)
        for collection in self._cancelled():
            while self._discard_step(collection.id):
                pass
            self._cancel_rows(collection.id)
        closed += [each.collection_id for each in self._forgotten() if self._close(each.id)]
        for collection in self._overspent():
            self._fail_rows(collection.id)

        return closed

    @transaction
    def _begin_cancel(self, tx: Transaction, ref: CollectionRef) -> str:
        collection = get_collection(tx, ref)
        tx.save_collection(rules.cancel(collection, now=tx.now))
        change = transition(collection.job, EventName.CANCEL_REQUESTED, now=tx.now, cancel_requested_at=tx.now)
        tx.save(change)
        settle(tx, collection.id, self._context)

        return collection.id

    def _cancel_rows(self, identity: str) -> None:
        """Cancel rows until all are, or for a while: first those that run, which cost."""
        until, cancelled = self._clock() + _ANSWERS_AFTER, 0
        for states in ((State.RUNNING,), _WAITING):
            after_row = 0
            while (step := self._cancel_step(identity, after_row, states)) is not None:
                after_row, cancelled = step[0], cancelled + step[1]
                if cancelled >= _AT_LEAST and self._clock() >= until:
                    return

    @transaction
    def _cancel_step(
        self, tx: Transaction, identity: str, after_row: int, states: Sequence[State]
    ) -> tuple[int, int] | None:
        """Cancel the next rows in those states; the number of the last, and how many. None once there are none."""
        collection = tx.collection(identity)
        rows = [] if collection is None else tx.rows(identity, states=states, after_row=after_row, limit=_STEP)
        # Rows that are just being stored are not visible: the request that stores them deletes them.
        rows = [row for row in rows if collection is not None and (row.row or 0) <= collection.total]
        left = [row for row in rows if row.state is not State.RUNNING or row.cancel_requested_at is None]
        for row in left:
            cancel_job(tx, row, self._context, settles=False)
        if left:
            settle(tx, identity, self._context)
        if batched := [row for row in rows if row.state is State.BATCHED]:
            poll_if_unawaited(tx, batched[-1])

        return (rows[-1].row or 0, len(left)) if rows else None

    @transaction
    def _begin_retry(self, tx: Transaction, ref: CollectionRef, rows: tuple[int, ...] | None) -> str:
        collection = get_collection(tx, ref)
        if collection.job.retain is Retain.METADATA and collection.phase is Phase.FINISHED and _erased(tx, collection):
            raise Conflict(
                f"collection {collection.collection_id} cannot be retried: its content was erased on delivery "
                "(retain: metadata)"
            )
        if rows is not None and (wrong := [row for row in rows if not 1 <= row <= collection.total]):
            text = f"names row {wrong[0]}, and the collection has the rows 1 to {collection.total}"
            raise InvalidRequest.at("rows", text)
        change = transition(
            collection.job,
            EventName.RETRIED,
            now=tx.now,
            detail={"run": collection.generation + 1},
            run=collection.generation + 1,
            run_started_at=tx.now,
            cancel_requested_at=None,
        )
        began = rules.begin_retry(collection, change.job, rows, now=tx.now)
        if not _to_retry(tx, began, limit=1):
            raise Conflict(
                f"collection {collection.collection_id} has no row to retry: none has failed that was a valid request"
                if rows is None
                else "none of these rows can be retried: they never were valid requests"
            )
        tx.save(change)
        tx.save_collection(began)

        return collection.id

    def _queue_rows(self, identity: str) -> bool:
        """Queue rows until all are, or for a while; whether all are."""
        until, steps = self._clock() + _ANSWERS_AFTER, 0
        while self._queue_step(identity):
            steps += 1
            if steps * _STEP >= _AT_LEAST and self._clock() >= until:
                return False

        return True

    @transaction
    def _queue_step(self, tx: Transaction, identity: str) -> bool:
        """Queue the next rows again; once all are queued, the generation begins."""
        collection = tx.collection(identity)
        if collection is None or collection.phase is not Phase.RETRYING:
            return False
        rows = _to_retry(tx, collection, limit=_STEP)
        for row in rows:
            retry_job(tx, row, self._context)
        if len(rows) == _STEP:
            return True
        tx.save_collection(rules.end_retry(collection))
        settle(tx, identity, self._context)

        return False

    @transaction
    def _redeliver(self, tx: Transaction, ref: CollectionRef, url: str | None) -> Delivery:
        collection = get_collection(tx, ref)
        if collection.phase is not Phase.FINISHED:
            raise Conflict(f"collection {collection.collection_id} has not ended yet: there is no callback to send")
        delivery = tx.delivery(collection.id)
        if delivery is None or delivery.run != collection.generation:
            if url is None:
                raise Conflict(f"collection {collection.collection_id} has no webhook: read its results, or name a URL")
            delivery = new_delivery(collection.job, url, self._context, now=tx.now)
            tx.add_delivery(delivery)
            return delivery
        outcome = tx.outcome(collection.id, collection.generation)
        if outcome is not None and not outcome.body:
            raise Conflict(
                f"collection {collection.collection_id} cannot be sent again: its content was erased on delivery "
                "(retain: metadata)"
            )
        change = delivery_transitions.redeliver(delivery, now=tx.now, url=url)
        tx.save_delivery(change)
        if (destination := tx.destination(change.delivery.destination)) is not None:
            tx.save_destination(destinations.probe_soon(destination, now=tx.now))

        return change.delivery

    @query
    def _is_cancelled(self, tx: ReadTransaction, identity: str) -> bool:
        collection = tx.collection(identity)

        return collection is not None and collection.cancel_requested_at is not None

    @query
    def _has_work(self, tx: ReadTransaction) -> bool:
        return bool(
            tx.collections_in(Phase.STAGING, Phase.OPEN, Phase.RETRYING)
            or tx.collections_in(Phase.CLOSED, cancelled=True)
            or tx.overspent_collections()
        )

    @query
    def _stale(self, tx: ReadTransaction) -> Sequence[str]:
        """Collections whose rows were being stored by a process that died."""
        stale_at = cutoff(tx, STORING_TIMEOUT)
        storing = [each for each in tx.collections_in(Phase.STAGING, Phase.OPEN) if not each.claimable]

        return [each.id for each in storing if each.touched_at < stale_at and each.cancel_requested_at is None]

    @query
    def _in_progress(self, tx: ReadTransaction, phase: Phase) -> Sequence[Collection]:
        stale_at = cutoff(tx, _CONTINUED_AFTER)

        return [each for each in tx.collections_in(phase) if each.touched_at < stale_at]

    @query
    def _cancelled(self, tx: ReadTransaction) -> Sequence[Collection]:
        stale_at = cutoff(tx, _CONTINUED_AFTER)

        return [
            each
            for each in tx.collections_in(Phase.CLOSED, cancelled=True)
            if each.cancel_requested_at is not None and each.cancel_requested_at < stale_at and _is_left(tx, each)
        ]

    @query
    def _forgotten(self, tx: ReadTransaction) -> Sequence[Collection]:
        stale_at = cutoff(tx, OPEN_FOR)

        return [each for each in tx.collections_in(Phase.OPEN) if each.touched_at < stale_at]

    @query
    def _overspent(self, tx: ReadTransaction) -> Sequence[Collection]:
        return tx.overspent_collections()

    @transaction
    def _discard_step(self, tx: Transaction, identity: str) -> bool:
        return discard_step(tx, identity, self._context)

    @transaction
    def _close(self, tx: Transaction, identity: str) -> bool:
        collection = tx.collection(identity)
        if collection is None or collection.phase is not Phase.OPEN or not collection.claimable:
            return False
        tx.save_collection(rules.close(collection))
        alert = alerts.collection_closed(collection.collection_id, total=collection.total, since=collection.touched_at)
        tx.add_alert_notice(f"alert_{self._context.new_id(tx.now)}", encode(alerts.body(alert, now=tx.now)))
        settle(tx, identity, self._context)

        return True

    def _fail_rows(self, identity: str) -> None:
        """Fail the rows of an overspent collection until all are, or for a while."""
        until = self._clock() + _ANSWERS_AFTER
        while self._fail_overspent(identity) and self._clock() < until:
            pass

    @transaction
    def _fail_overspent(self, tx: Transaction, identity: str) -> bool:
        """Fail the next rows that were not called, once the maximum cost of the whole is spent."""
        limit, _ = tx.collection_budget(identity)
        rows = tx.rows(identity, states=(State.QUEUED,), limit=_STEP)
        for row in rows:
            failure = rules.over_budget(limit or 0.0, row, tx.repair(row.id, row.run) if row.calls else None)
            change = endings.reject(row, failure, now=tx.now)
            outcomes.save_transition(tx, change, self._context, partial=failure.partial)

        return len(rows) == _STEP


def _to_retry(tx: ReadTransaction, collection: Collection, *, limit: int) -> Sequence[Job]:
    """The next rows that the retry has not queued yet. One that never was a valid request cannot run."""
    if collection.retry_rows is None:
        chosen = tx.rows(collection.id, states=_ENDED_BADLY, limit=limit + _STEP)
    else:
        chosen = []
        for start in range(0, len(collection.retry_rows), 500):
            numbers = collection.retry_rows[start : start + 500]
            states = (*_ENDED_BADLY, State.COMPLETED)
            chosen += [
                row
                for row in tx.rows(collection.id, states=states, numbers=numbers, limit=500)
                if row.finished_at is not None and row.finished_at <= collection.job.run_started_at
            ]
    rows: list[Job] = []
    after_row = 0
    while chosen and len(rows) < limit:
        for row in chosen:
            after_row = row.row or 0
            if row.calls or row.error_type != "invalid_request" or tx.options(row.id):
                rows.append(row)
        if collection.retry_rows is not None or len(rows) >= limit:
            break
        chosen = tx.rows(collection.id, states=_ENDED_BADLY, after_row=after_row, limit=limit + _STEP)

    return rows[:limit]


def _is_left(tx: ReadTransaction, collection: Collection) -> bool:
    """Whether a cancel still has to reach a row."""
    if tx.rows(collection.id, states=_WAITING, limit=1):
        return True

    return any(row.cancel_requested_at is None for row in tx.rows(collection.id, states=(State.RUNNING,), limit=1_000))


def _erased(tx: ReadTransaction, collection: Collection) -> bool:
    delivery = tx.delivery(collection.id)

    return (
        delivery is not None
        and delivery.run == collection.generation
        and delivery.last_status is not None
        and (200 <= delivery.last_status < 300)
    )
