"""Use cases of the executor: claim jobs, record the progress of their calls, and end attempts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import failpoints
from ..core.jobs import transitions
from ..core.jobs.change import Call, Change
from ..core.jobs.failure import Completion, Failure, PartialResponse, Repair, RequestOutcome
from ..errors import LeaseLost, NotFound
from . import answer_checks, claim_order, model_fallback, outcomes, upstream_circuit
from .attempts import fail_attempt, record_spend, resume_if_parked
from .budgets import Budgets
from .claim_limits import ClaimLimiter, FamilyCapacity, seconds_until_capacity
from .claim_order import ClaimOrder
from .conversation import earlier_turns
from .damage import damaged_jobs_fail, rebuild_running
from .fenced_calls import fenced_call, look_up_call, save_checkpoints
from .holds import load_holds, start_probes
from .transactions import query, transaction, write
from .types import ClaimedJob

if TYPE_CHECKING:
    from ..core.jobs.fairness import Flow
    from ..core.jobs.job import Job
    from ..core.jobs.submission import Exchange
    from ..ports import ReadTransaction, Transaction
    from .context import Context
    from .fenced_calls import Checkpoint


class Execution:
    """The use cases of a worker's call slots."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self._seen_flows: Sequence[Flow] = ()  # by the last sweep: what the next one will probably read

    def claim(
        self, worker: str, *, limit: int, ids: Collection[str] | None = None, capacity: FamilyCapacity | None = None
    ) -> Sequence[ClaimedJob]:
        """
        Claim up to `limit` due jobs for a worker, each with an open entry in the ledger.

        With `ids`, only those of them that are still claimable; without, a sweep in the order of claiming. Paused and
        full groups, throttled families and a parked queue are skipped; `capacity` is the worker's own, by family.
        """
        claimed = self._claim(worker, limit, ids, capacity or FamilyCapacity())
        if claimed:
            failpoints.hit("claim.after_commit")

        return claimed

    @query
    def seconds_until_capacity(self, tx: ReadTransaction) -> float | None:
        """
        Seconds until a group's rate lets its next job start, where due jobs wait for capacity.

        Infinite where only the end of a call frees capacity; None where none will be free (a pause, an outage, a spent
        budget), or no job waits for it.
        """
        return seconds_until_capacity(tx, Budgets(tx, self._context.prices).blocked_owners)

    def history(self, claimed: ClaimedJob) -> Sequence[Exchange]:
        """The earlier exchanges of its conversation, oldest first; empty for a new one."""
        if not claimed.request.request.get("continueFrom"):
            return ()
        return self._earlier_exchanges(claimed.job.id)

    def sending(self, claimed: ClaimedJob) -> None:
        """
        Record that the first byte is about to be sent.

        From now on the call may have to be paid for.

        Raises `LeaseLost` if another worker has the job by now: nothing may be sent then.
        """
        if not self._mark_sent(claimed):
            raise LeaseLost()
        failpoints.hit("sending.after_commit")

    def _look_up_call(self, reads: ReadTransaction, claimed: ClaimedJob, *_: object) -> None:
        look_up_call(reads, claimed)

    def _look_up_end(self, reads: ReadTransaction, claimed: ClaimedJob, *_: object) -> None:
        look_up_call(reads, claimed)
        load_holds(reads)
        outcomes.look_ahead(reads, claimed.job, self._context)

    @transaction(ahead=_look_up_call)
    def start_followup(self, tx: Transaction, claimed: ClaimedJob, step: RequestOutcome) -> None:
        """
        Record another request of the same call in the ledger before its first byte is sent.

        Raises `LeaseLost` if another worker has the job by now: nothing more may be sent then.
        """
        job, call = fenced_call(tx, claimed)
        change = transitions.continue_call(job, step, token=claimed.token, call=call, now=tx.now)
        record_spend(tx, change)
        tx.save(change)

    def repair(self, claimed: ClaimedJob) -> Repair | None:
        """The answer of this run that did not match its schema, for Claude to fix."""
        if claimed.job.attempt <= 1:  # no answer yet
            return None
        return self._stored_repair(claimed.job)

    def checkpoint(self, claimed: ClaimedJob, partial: PartialResponse) -> None:
        """Store the answer so far. Does nothing once the lease is lost."""
        self.checkpoint_many([(claimed, None, partial)])

    def checkpoint_many(self, items: Sequence[Checkpoint]) -> None:
        """
        Store the answers of several calls so far, in one commit; of lost leases nothing.

        Each with the number of its ledger entry (None: the present one); it is left out once that has ended.
        """
        self._save_checkpoints(items)
        failpoints.hit("checkpoint.after_commit")

    def complete(self, claimed: ClaimedJob, done: Completion) -> Job:
        """
        Store the answer, its usage and the delivery that carries it, in one transaction.

        Where it fails its checks, the job may wait for a repair instead, or have failed.
        """
        change = self._complete(claimed, answer_checks.with_results(done, claimed.request))
        failpoints.hit("complete.after_commit")

        return self._announce(change)

    def _look_up_ends(self, reads: ReadTransaction, done: Sequence[tuple[ClaimedJob, Completion]]) -> None:
        for claimed, _ in done:
            self._look_up_end(reads, claimed)

    @transaction(paid=True, ahead=_look_up_ends)
    def complete_many(
        self, tx: Transaction, done: Sequence[tuple[ClaimedJob, Completion]]
    ) -> Sequence[Job | LeaseLost]:
        """Store several answers in one commit; a lost lease is returned in its place, and the others are stored."""
        return [self._complete_or_lost(tx, claimed, completion) for claimed, completion in done]

    def fail(self, claimed: ClaimedJob, failure: Failure, *, pause: float | None = None) -> Job:
        """
        Save a failed attempt, with its consequences for the job and the queue.

        `pause`: seconds for which this worker holds back a throttled family; they apply to every worker where upstream
        named no time.
        """
        change = write(
            self._store,
            lambda tx: self._fail_in(tx, claimed, failure, pause),
            paid=failure.sent,
            ahead=lambda reads: self._look_up_end(reads, claimed),
        )

        return self._announce(change)

    def release(self, claimed: ClaimedJob) -> Job:
        """Return a claimed job of which nothing was sent."""
        return self._announce(self._release(claimed))

    def interrupt(self, claimed: ClaimedJob, partial: PartialResponse, *, why: str) -> Job:
        """Give up a call when a planned stop outlasts its drain; the job's onInterrupt decides what follows."""
        return self._announce(self._interrupt(claimed, partial, why))

    @transaction
    def renew(self, tx: Transaction, worker: str, claimed: Sequence[ClaimedJob]) -> dict[str, str]:
        """
        Extend the leases of a worker's running jobs; returns the tokens it still has, by job.

        The worker must drop the others: their leases are lost.
        """
        tokens = dict(tx.renew_leases(worker, [one.job.id for one in claimed], tx.now + self._context.policy.lease))
        for lost in (one for one in claimed if one.job.id not in tokens):
            with contextlib.suppress(LeaseLost):  # only its row is damaged, and is replaced
                fenced_call(tx, lost)
                tokens[lost.job.id] = lost.token

        return tokens

    @query
    def cancel_requests(self, tx: ReadTransaction, worker: str) -> Collection[str]:
        """The running jobs of a worker whose cancellation is requested."""
        return tx.cancel_requested(worker)

    @query
    def running(self, tx: ReadTransaction) -> Sequence[Job]:
        """All running jobs, to check whether their workers are alive."""
        return tx.running()

    @query
    def damaged_running(self, tx: ReadTransaction, intact: int) -> Sequence[Call]:
        """The latest ledger entry of each running job whose row is damaged, where more run than the intact ones."""
        if sum(tx.running_by_worker().values()) <= intact:
            return []
        return [call for job in tx.damaged_running() for call in tx.calls(job.id)[-1:]]

    def reap(self, job_id: str, token: str | None, *, why: str) -> Job | None:
        """Take a job from a dead worker; without a token, one whose row is damaged. None: it had ended."""
        change = self._reap(job_id, token, why)

        return None if change is None else self._announce(change)

    @query
    def _earlier_exchanges(self, tx: ReadTransaction, job_id: str) -> Sequence[Exchange]:
        return earlier_turns(tx, job_id)

    @query
    def _stored_repair(self, tx: ReadTransaction, job: Job) -> Repair | None:
        return tx.repair(job.id, job.run)

    @transaction(ahead=lambda self, reads, claimed: load_holds(reads))
    def _mark_sent(self, tx: Transaction, claimed: ClaimedJob) -> bool:
        upstream_circuit.record_success(tx)  # a connection was made, or there would be nothing to send
        # Decided on the claimed job, without reading its row again: the token is compared as the mark is saved.
        return tx.mark_sent(transitions.mark_sent(claimed.job, token=claimed.token, call=claimed.call))

    def _look_up_calls(self, reads: ReadTransaction, items: Sequence[Checkpoint]) -> None:
        for claimed, _, _ in items:
            look_up_call(reads, claimed)

    @transaction(patient=True, ahead=_look_up_calls)
    def _save_checkpoints(self, tx: Transaction, items: Sequence[Checkpoint]) -> None:
        save_checkpoints(tx, items)

    @transaction(paid=True, ahead=_look_up_end)
    def _complete(self, tx: Transaction, claimed: ClaimedJob, done: Completion) -> Change:
        change = self._complete_in(tx, claimed, done)
        failpoints.hit("complete.before_commit")

        return change

    def _complete_or_lost(self, tx: Transaction, claimed: ClaimedJob, done: Completion) -> Job | LeaseLost:
        try:
            return self._complete_in(tx, claimed, answer_checks.with_results(done, claimed.request)).job
        except LeaseLost as exc:  # raised before anything is written
            return exc

    def _complete_in(self, tx: Transaction, claimed: ClaimedJob, done: Completion) -> Change:
        job, call = fenced_call(tx, claimed)
        verdict = answer_checks.judge(tx, job, done, claimed.request, self._context)
        if isinstance(verdict, Failure):
            return fail_attempt(tx, job, verdict, self._context, call=call, token=claimed.token)
        change = transitions.complete(job, done, token=claimed.token, call=call, now=tx.now)
        resume_if_parked(tx, call.started_at)
        record_spend(tx, change)

        return outcomes.save_transition(tx, change, self._context, done=done)

    def _fail_in(self, tx: Transaction, claimed: ClaimedJob, failure: Failure, pause: float | None) -> Change:
        job, call = fenced_call(tx, claimed)

        return fail_attempt(tx, job, failure, self._context, call=call, token=claimed.token, pause=pause)

    @transaction(ahead=_look_up_call)
    def _release(self, tx: Transaction, claimed: ClaimedJob) -> Change:
        job, call = fenced_call(tx, claimed)
        change = transitions.release(job, token=claimed.token, call=call, now=tx.now)

        return outcomes.save_transition(tx, change, self._context)

    @transaction(paid=True, ahead=_look_up_call)
    def _interrupt(self, tx: Transaction, claimed: ClaimedJob, partial: PartialResponse, why: str) -> Change:
        job, call = fenced_call(tx, claimed)

        return self._interrupt_in(tx, job, call, why, claimed.token, partial)

    @transaction
    def _reap(self, tx: Transaction, job_id: str, token: str | None, why: str) -> Change | None:
        job = rebuild_running(tx, job_id) if token is None else tx.job(job_id)
        if job is None or job.lease is None or token not in (None, job.lease.token):
            return None
        call = tx.call(job_id, job.calls) or Call(
            job_id=job_id, number=job.calls, run=job.run, started_at=tx.now, worker=""
        )

        return self._interrupt_in(tx, job, call, why, None, tx.partial(job_id) or PartialResponse())

    def _interrupt_in(
        self, tx: Transaction, job: Job, call: Call, why: str, token: str | None, partial: PartialResponse
    ) -> Change:
        context = self._context
        change = transitions.interrupt(
            job,
            partial,
            call=call,
            why=why,
            policy=context.policy,
            now=tx.now,
            chance=context.rng.random(),
            token=token,
        )
        record_spend(tx, change)
        return outcomes.save_transition(tx, change, context, partial=partial.text)

    def _look_up_claim(
        self,
        reads: ReadTransaction,
        worker: str,
        limit: int,
        ids: Collection[str] | None,
        capacity: FamilyCapacity,
    ) -> None:
        """Guesses that nothing is blocked."""
        load_holds(reads)
        ClaimLimiter(reads, capacity, ())
        Budgets(reads, self._context.prices)
        if ids is None:
            claim_order.look_ahead(reads, self._seen_flows, limit)
        for job_id in ids or ():
            reads.job(job_id)
            reads.request(job_id)

    @transaction(ahead=_look_up_claim)
    def _claim(
        self, tx: Transaction, worker: str, limit: int, ids: Collection[str] | None, capacity: FamilyCapacity
    ) -> Sequence[ClaimedJob]:
        holds = load_holds(tx)
        if holds.blocks_all:
            return []
        if holds.probe_only:
            limit = min(limit, 1)
        limits = ClaimLimiter(tx, capacity, holds.throttled_families)
        budgets = Budgets(tx, self._context.prices)
        order = ClaimOrder(tx, limits, budgets, limit=limit)
        claimed: list[ClaimedJob] = []
        while len(claimed) < limit:
            if ids is None:
                candidates = order.next(limit - len(claimed))
            else:
                candidates = claim_order.named(tx, ids, limits, budgets.blocked_owners)[:limit]
            tx.prefetch(functools.partial(_look_up_requests, jobs=candidates))
            for job in candidates:
                if budgets.admits(job) and limits.admits(job):
                    with damaged_jobs_fail(tx, job, self._context):
                        claimed.append(self._claim_job(tx, job, worker, budgets))
                        order.count_start(job)
            if not candidates or order.exhausted or ids is not None:
                break
        limits.save(tx)
        order.save(tx)
        self._seen_flows = order.seen or self._seen_flows
        if claimed:
            start_probes(tx, holds)

        return claimed

    def _claim_job(self, tx: Transaction, job: Job, worker: str, budgets: Budgets) -> ClaimedJob:
        request = tx.request(job.id)
        job = model_fallback.replace_retired_model(tx, job, self._context)
        lease = self._context.lease(worker, tx.now, self._context.policy.lease)
        change = transitions.claim(job, lease=lease, now=tx.now)
        if request is None or change.call is None:
            raise NotFound(f"the request of job {job.request_id} is missing")
        call = replace(change.call, reserved_usd=budgets.reserve(job, request))
        tx.save(replace(change, call=call))

        return ClaimedJob(
            job=change.job, call=call, request=model_fallback.adapt_request(request, change.job, self._context)
        )

    def _announce(self, change: Change) -> Job:
        if change.ready_now:
            self._context.notifier.notify((change.job.id,))

        return change.job


def _look_up_requests(reads: ReadTransaction, jobs: Sequence[Job]) -> None:
    for job in jobs:
        reads.request(job.id)
