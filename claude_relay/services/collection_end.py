"""
The end of a collection: its callback, in the transaction that ends its last row.

There is no counter of open rows, which all rows that end together would change: an index tells whether one is left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core import wire
from ..core.collections import bodies
from ..core.collections import collection as rules
from ..core.collections.collection import Collection, Phase, Tally
from ..core.deliveries.transitions import open_delivery
from ..core.jobs.change import Outcome, transition
from ..core.jobs.events import EventName
from ..core.jobs.job import Job, State
from .acks import ack_url

if TYPE_CHECKING:
    from ..core.deliveries.delivery import Delivery
    from ..ports import ReadTransaction, Transaction
    from .context import Context

_PIECE = 500
#: With as many open rows none of the writes that share a commit ends the last one. That count may be older than the
#: transaction's own writes (`outcomes.look_ahead`), which saves a round trip for most rows.
MANY = 1_000
#: Results are read for the callback while their bodies have at most this many times its bytes: it has fewer keys.
_SHRINK = 3
_FAILED = (State.FAILED, State.CANCELLED)


def tally(tx: ReadTransaction, collection: Collection) -> Tally:
    """The rows by state; of a finished collection as it ended."""
    if collection.phase is Phase.FINISHED:
        return Tally(
            completed=collection.completed,
            failed=collection.failed,
            cost_usd=collection.cost_usd,
            saved_usd=collection.saved_usd,
        )

    return rules.tally_of(tx.row_states(collection.id, collection.total))


def settle(tx: Transaction, identity: str, context: Context) -> None:
    """End a collection whose last row has ended; does nothing before that, or while more rows may follow."""
    if tx.count_open_rows(identity) >= MANY or tx.has_open_rows(identity):
        return
    collection = tx.collection(identity)
    if collection is None or collection.phase is not Phase.CLOSED:
        return
    counted = tally(tx, collection)
    ended = rules.finish(collection, counted, now=tx.now)
    tx.save_collection(ended)
    body = _callback(tx, ended, counted, context)
    request = tx.request(identity)
    url = request.webhook_url if request else None
    name = EventName.COMPLETED if counted.outcome == "completed" else EventName.FAILED
    detail = {"status": counted.outcome, "completed": counted.completed, "failed": counted.failed}
    change = transition(ended.job, name, now=tx.now, detail=detail)
    outcome = Outcome(job_id=identity, run=ended.generation, at=tx.now, status=counted.outcome, body=wire.encode(body))
    delivery = None if url is None else new_delivery(change.job, url, context, now=tx.now)
    tx.save(replace(change, outcome=outcome, delivery=delivery))


def look_ahead(reads: ReadTransaction, identity: str) -> None:
    """The look-up of `settle`."""
    reads.count_open_rows(identity)


def new_delivery(job: Job, url: str, context: Context, *, now: float) -> Delivery:
    """A delivery of the bytes of the collection's present outcome."""
    due_at = max(now, job.run_started_at + context.policy.delivery_delay)

    return open_delivery(job, url, identity=context.new_id(now), now=now, due_at=due_at)


def _callback(tx: Transaction, collection: Collection, counted: Tally, context: Context) -> dict[str, Any]:
    policy = context.policy
    usage: dict[str, int] = {}
    for row_usage in tx.row_usage(collection.id):
        bodies.add_usage(usage, row_usage)
    results = None
    if tx.results_size(collection.id) <= _SHRINK * policy.callback_max:
        results = _results(tx, collection)
    path = f"/api/collections/{collection.collection_id}/results"

    return bodies.callback_body(
        collection,
        counted,
        usage=usage,
        failures=tx.rows(collection.id, states=_FAILED, limit=bodies.MAX_FAILURES),
        results=results,
        results_url=f"{policy.public_url.rstrip('/')}{path}" if policy.public_url else path,
        metadata=tx.metadata(collection.id),
        ack_url=ack_url(tx, collection.job, context),
        limit=policy.callback_max,
        now=tx.now,
    )


def _results(tx: Transaction, collection: Collection) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    while rows := tx.row_outcomes(collection.id, after_row=results[-1]["row"] if results else 0, limit=_PIECE):
        results += [bodies.short_result(row, outcome) for row, outcome in rows]

    return results
