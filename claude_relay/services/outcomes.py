"""
The end of a run.

Its outcome and, where a webhook is named, the delivery, in the transaction that ends it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core import wire
from ..core.deliveries.transitions import open_delivery
from ..core.jobs.change import Change, Outcome, with_partial
from ..core.jobs.job import Job, State
from ..core.jobs.submission import StoredRequest
from ..errors import Damaged, NotFound
from . import collection_end, model_fallback
from .acks import ack_url, look_up_secret

if TYPE_CHECKING:
    from ..core.deliveries.delivery import Delivery
    from ..core.jobs.failure import Completion
    from ..ports import ReadTransaction, Transaction
    from .context import Context


def save_transition(
    tx: Transaction,
    change: Change,
    context: Context,
    *,
    done: Completion | None = None,
    partial: str = "",
    settles: bool = True,
) -> Change:
    """
    Save a transition; one that ends the run gets the frozen body and the delivery that carries it.

    Without `settles` the caller looks whether the collection of the row has ended, once for many rows.
    """
    if change.job.state.final:
        if done is None and not partial and (stored := tx.partial(change.job.id)) is not None:
            # An attempt before the last one has written a part of an answer: it was paid for, and is delivered.
            change, partial = with_partial(change, stored), stored.text
        request = _intact_request(tx, change.job)
        request = replace(
            request, warnings=(*request.warnings, *model_fallback.warnings(tx, change.job, request, context))
        )
        change = _with_outcome(change, request, context, ack_url(tx, change.job, context), done=done, partial=partial)
    tx.save(change)
    if settles and change.job.collection is not None and change.job.state.final:
        collection_end.settle(tx, change.job.collection, context)

    return change


def look_ahead(reads: ReadTransaction, job: Job, context: Context) -> None:
    """The look-ups of a transition that ends the run."""
    reads.request(job.id)
    look_up_secret(reads, context)
    if job.collection is not None:
        collection_end.look_ahead(reads, job.collection)


def _intact_request(tx: Transaction, job: Job) -> StoredRequest:
    """The request of a job; of a damaged one the fields of the callback, as far as these are intact."""
    empty = StoredRequest(job_id=job.id, request={})
    try:
        return tx.request(job.id) or empty
    except Damaged:
        try:
            return tx.callback_fields(job.id) or empty
        except Damaged as exc:
            return replace(empty, warnings=(f"{exc}. No callback was sent.",))


def _with_outcome(
    change: Change, request: StoredRequest, context: Context, ack: str | None, *, done: Completion | None, partial: str
) -> Change:
    job, now = change.job, change.event.at
    common: dict[str, Any] = dict(metadata=request.metadata, warnings=request.warnings, ack_url=ack, now=now)
    if job.state is State.COMPLETED and done is not None:
        body = wire.success_body(job, done, **common)
    else:
        body = wire.failure_body(job, partial=partial, **common)

    blocks = done.blocks if done is not None else None
    encoded = wire.encode(body)
    outcome = Outcome(job_id=job.id, run=job.run, at=now, status=body["status"], body=encoded, blocks=blocks)
    url = request.webhook_url
    if body["status"] == wire.STATUS[State.FAILED]:
        url = request.failure_webhook_url or url
    if url is None:
        return replace(change, outcome=outcome)

    # The 202 is sent once the job is on disk, which takes long for a large bulk; no worker can claim it before that.
    began = max(job.run_started_at, change.call.started_at if change.call is not None else 0.0)
    due_at = max(now, began + context.policy.delivery_delay)

    delivery = _new_delivery(job, body, url, context, size=len(encoded), now=now, due_at=due_at)

    return replace(change, outcome=outcome, delivery=delivery)


def create_delivery(tx: Transaction, job: Job, url: str, context: Context) -> Delivery:
    """Open a delivery for a run that had ended without one, to the URL that is named now."""
    outcome = tx.outcome(job.id, job.run)
    if outcome is None:
        raise NotFound(f"the result of job {job.request_id} was erased after its retention")
    body = json.loads(outcome.body)
    delivery = _new_delivery(job, body, url, context, size=len(outcome.body), now=tx.now, due_at=tx.now)
    delivery = replace(delivery, acked_at=tx.acked_at(job.id, job.run))
    tx.add_delivery(delivery)

    return delivery


def _new_delivery(
    job: Job, body: dict[str, Any], url: str, context: Context, *, size: int, now: float, due_at: float
) -> Delivery:
    policy = context.policy
    result = f"/api/result/{job.request_id}"
    shortened = wire.webhook_body(
        body,
        size=size,
        callback=policy.callback,
        limit=policy.callback_max,
        result_url=f"{policy.public_url.rstrip('/')}{result}" if policy.public_url else result,
    )
    sent = None if shortened is None else wire.encode(shortened)

    return open_delivery(job, url, identity=context.new_id(now), now=now, due_at=due_at, body=sent)
