"""Cancel, retry and redeliver one job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..core.batches import choose_lane
from ..core.deliveries import destination as destinations
from ..core.deliveries import transitions as delivery_transitions
from ..core.jobs import batch_transitions, transitions
from ..core.jobs.job import Job, Retain, State
from ..core.jobs.submission import StoredRequest
from ..errors import Conflict
from . import outcomes
from .context import Context, get_job
from .transactions import transaction

if TYPE_CHECKING:
    from ..core.deliveries.delivery import Delivery
    from ..core.jobs.change import Change
    from ..ports import ReadTransaction, Transaction
    from .types import JobRef


class JobActions:
    """Actions on one job that its owner asks for."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def cancel(self, ref: JobRef) -> Job:
        """Stop a job; see `Relay.cancel`."""
        change = self._cancel(ref)
        self._context.notifier.notify()

        return change.job

    def retry(self, ref: JobRef, *, options: dict[str, Any] | None = None, model: str | None = None) -> Job:
        """Start another run of a job that has ended; see `Relay.retry`."""
        change = self._retry(ref, options or {}, model)
        self._context.notifier.notify((change.job.id,))

        return change.job

    def redeliver(self, ref: JobRef, *, url: str | None = None) -> Delivery:
        """Send the stored outcome again; see `Relay.redeliver`."""
        delivery = self._redeliver(ref, url)
        self._context.notifier.notify()

        return delivery

    @transaction
    def _cancel(self, tx: Transaction, ref: JobRef) -> Change:
        job = get_job(tx, ref)
        change = cancel_job(tx, job, self._context)
        if job.state is State.BATCHED:
            poll_if_unawaited(tx, job)

        return change

    @transaction
    def _retry(self, tx: Transaction, ref: JobRef, options: dict[str, Any], model: str | None) -> Change:
        job = get_job(tx, ref)
        # A held row is released like any held job: its collection has not ended, and cannot be retried.
        is_row = job.collection is not None and job.state is not State.HELD
        if is_row and (collection := tx.collection(job.collection or "")) is not None:
            raise Conflict(
                f"job {job.request_id} is row {job.row} of collection {collection.collection_id}: retry it with "
                f'POST /api/collections/{collection.collection_id}/retry and {{"rows": [{job.row}]}}'
            )

        return retry_job(tx, job, self._context, options=options, model=model)

    @transaction
    def _redeliver(self, tx: Transaction, ref: JobRef, url: str | None) -> Delivery:
        job = get_job(tx, ref)
        if not job.state.final:
            raise Conflict(f"job {job.request_id} has not ended yet: there is no result to send")
        _refuse_erased(tx, job, "sent again")
        delivery = tx.delivery(job.id)
        if delivery is None or delivery.run != job.run:
            if url is None:
                raise Conflict(f"job {job.request_id} has no webhook: read its result, or name a URL")
            return outcomes.create_delivery(tx, job, url, self._context)
        change = delivery_transitions.redeliver(delivery, now=tx.now, url=url)
        tx.save_delivery(change)
        if (destination := tx.destination(change.delivery.destination)) is not None:
            tx.save_destination(destinations.probe_soon(destination, now=tx.now))

        return change.delivery


def cancel_job(tx: Transaction, job: Job, context: Context, *, settles: bool = True) -> Change:
    """Cancel a job: at once where nothing runs, else at the next event of its stream."""
    call = tx.call(job.id, job.calls) if job.state is State.BATCHED else None
    if call is None:
        change = transitions.cancel(job, now=tx.now)
    else:
        change = batch_transitions.end_in_batch(job, call=call, now=tx.now)

    return outcomes.save_transition(tx, change, context, settles=settles)


def poll_if_unawaited(tx: Transaction, job: Job) -> None:
    """Let a batch be cancelled upstream, too, once no job waits for it; `job` is one that left it."""
    item = tx.item_of_call(job.id, job.calls)
    if item is not None and not tx.count_awaited(item.batch_id):
        tx.poll_now(item.batch_id)


def retry_job(
    tx: Transaction,
    job: Job,
    context: Context,
    *,
    options: Mapping[str, Any] = MappingProxyType({}),
    model: str | None = None,
) -> Change:
    """Start the next run of a job that has ended."""
    _refuse_erased(tx, job, "run again")
    request = tx.request(job.id) or StoredRequest(job_id=job.id, request={})
    lane, give_up_at = choose_lane(
        job.mode, need_by=request.need_by, deadline_at=None, now=tx.now, policy=context.policy
    )
    merged = {**request.request.get("options", {}), **options}
    change = transitions.retry(
        job,
        policy=context.policy,
        now=tx.now,
        model=model or merged.get("model"),
        fallbacks=tuple(merged.get("fallbackModels", ())),
        lane=lane,
        give_up_at=give_up_at,
    )
    if options:
        tx.save_request(replace(request, request={**request.request, "options": merged}))

    return outcomes.save_transition(tx, change, context)


def _refuse_erased(tx: ReadTransaction, job: Job, action: str) -> None:
    """Raise `Conflict` if the content was erased on delivery (`retain: metadata`)."""
    if job.retain is not Retain.METADATA or not job.state.final:
        return
    outcome = tx.outcome(job.id, job.run)
    if outcome is not None and not outcome.body:
        raise Conflict(
            f"job {job.request_id} cannot be {action}: its content was erased on delivery (retain: metadata)"
        )
