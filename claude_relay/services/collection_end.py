"""
The end of a collection: its callback, in the transaction that ends its last row.

There is no counter of open rows, which all rows that end together would change: an index tells whether one is left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.collections import collection as rules
from ..core.collections.collection import Collection, Phase, Tally
from ..core.deliveries.transitions import open_delivery
from ..core.jobs.change import Outcome, transition
from ..core.jobs.events import EventName
from ..core.jobs.job import Job
from .collection_callback import callback, collect

if TYPE_CHECKING:
    from ..core.deliveries.delivery import Delivery
    from ..ports import ReadTransaction, Transaction
    from .context import Context

#: With as many open rows none of the writes that share a commit ends the last one. That count may be older than the
#: transaction's own writes (`outcomes.look_ahead`), which saves a round trip for most rows.
MANY = 1_000


def tally(tx: ReadTransaction, collection: Collection) -> Tally:
    """The rows by state; of a finished collection as it ended."""
    if collection.phase is Phase.FINISHED:
        return Tally(
            completed=collection.completed,
            failed=collection.failed,
            cost_usd=collection.cost_usd,
            saved_usd=collection.saved_usd,
            checks_failed=collection.checks_failed,
        )

    return rules.tally_of(tx.row_states(collection.id, collection.total))


def settle(tx: Transaction, identity: str, context: Context) -> None:
    """End a collection whose last row has ended; does nothing before that, or while more rows may follow."""
    if tx.count_open_rows(identity) >= MANY or tx.has_open_rows(identity):
        return
    collection = tx.collection(identity)
    if collection is None or collection.phase is not Phase.CLOSED:
        return
    rows = collect(tx, collection, context)
    counted = replace(tally(tx, collection), checks_failed=rows.checks_failed)
    ended = rules.finish(collection, counted, now=tx.now)
    tx.save_collection(ended)
    body = callback(tx, ended, counted, rows, context)
    request = tx.request(identity)
    url = request.webhook_url if request else None
    name = EventName.COMPLETED if counted.outcome == "completed" else EventName.FAILED
    detail = {"status": counted.outcome, "completed": counted.completed, "failed": counted.failed}
    change = transition(ended.job, name, now=tx.now, detail=detail)
    outcome = Outcome(job_id=identity, run=ended.generation, at=tx.now, status=counted.outcome, body=body)
    delivery = None if url is None else new_delivery(change.job, url, context, now=tx.now)
    tx.save(replace(change, outcome=outcome, delivery=delivery))


def look_ahead(reads: ReadTransaction, identity: str) -> None:
    """The look-up of `settle`."""
    reads.count_open_rows(identity)


def new_delivery(job: Job, url: str, context: Context, *, now: float) -> Delivery:
    """A delivery of the bytes of the collection's present outcome."""
    due_at = max(now, job.run_started_at + context.policy.delivery_delay)

    return open_delivery(job, url, identity=context.new_id(now), now=now, due_at=due_at)
