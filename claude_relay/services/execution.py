"""What a worker does with jobs: claim, send, keep what comes, and bring the call to its end."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from .. import failpoints
from ..core.jobs import fallback, transitions
from ..core.jobs.change import Call, Change
from ..core.jobs.failure import Completion, ErrorType, Failure, PartialResponse, Remedy, RequestOutcome, SchemaRepair
from ..core.jobs.holds import PARK, HoldScope, QueueHold
from ..core.jobs.job import Job
from ..core.jobs.submission import Exchange
from ..core.money.spend import day_of
from ..errors import LeaseLost, NotFound
from ..ports import ReadTransaction, Transaction
from . import model_fallback, outcomes, upstream_circuit
from .budgets import Budgets
from .claim_limits import ClaimLimiter, FamilyCapacity
from .context import ClaimedJob, Context
from .conversation import turns_before
from .holds import MAX_PROBE_DELAY, PROBE_EVERY, load_holds, release, start_probes


class Execution:
    """The use cases of a worker's slots."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def claim(
        self, worker: str, *, limit: int, ids: Collection[str] | None = None, rooms: FamilyCapacity | None = None
    ) -> Sequence[ClaimedJob]:
        """
        Up to `limit` due jobs for that worker, each with an open entry in the ledger.

        With `ids`, only those of them that are still to be had; without, a sweep in the order of claiming. Paused and
        full groups, families that are being throttled and a parked queue are passed over; `rooms` says how many more
        calls of each family the worker would make now.
        """
        claimed = self._store.write(lambda tx: self._claim(tx, worker, limit, ids, rooms or FamilyCapacity()))
        if claimed:
            failpoints.hit("claim.after_commit")

        return claimed

    def seconds_until_capacity(self) -> float | None:
        """
        In how many seconds a group's rate lets the next of its jobs begin, where jobs that are due wait for room.

        Endless where only the end of a call makes room; None where none is to be had (a pause, a throttle, a spent
        budget), or nobody waits for it.
        """

        def look(tx: ReadTransaction) -> float | None:
            holds = load_holds(tx)
            if holds.queue_wide or holds.blocks_all:
                return None
            groups = tx.groups()
            waits = tx.due(
                limit=1,
                skip_groups=[group.name for group in groups if group.paused_at is not None],
                skip_families=holds.throttled_families,
                skip_owners=Budgets(tx, self._context.prices).blocked_owners,
            )
            if not waits:
                return None
            return min((group.next_at - tx.now for group in groups if group.next_at > tx.now), default=math.inf)

        return self._store.read(look)

    def history(self, claimed: ClaimedJob) -> Sequence[Exchange]:
        """What was said before in its conversation, oldest first; nothing where it begins one."""
        if not claimed.request.request.get("continueFrom"):
            return ()
        return self._store.read(lambda tx: turns_before(tx, claimed.job.id))

    def sending(self, claimed: ClaimedJob) -> None:
        """
        The first byte is about to go out: from now on the call may be paid for.

        Raises `LeaseLost` if another worker has the job by now: nothing may be sent then.
        """

        def admit(tx: Transaction) -> bool:
            upstream_circuit.record_success(tx)  # the connection stands, or there would be nothing to send
            return tx.mark_sent(claimed.job.id, claimed.token)

        if not self._store.write(admit):
            raise LeaseLost()
        failpoints.hit("sending.after_commit")

    def start_followup(self, claimed: ClaimedJob, step: RequestOutcome) -> None:
        """
        The same call goes on with another request: in the ledger before its first byte goes out.

        Raises `LeaseLost` if another worker has the job by now: nothing more may be sent then.
        """

        def move(tx: Transaction) -> None:
            job, call = _held(tx, claimed)
            change = transitions.continue_call(job, step, token=claimed.token, call=call, now=tx.now)
            record_spend(tx, change)
            tx.save(change)

        self._store.write(move)

    def repair(self, claimed: ClaimedJob) -> SchemaRepair | None:
        """The answer of this run that did not fit its schema, for Claude to mend."""
        if claimed.job.attempt <= 1:  # nothing was answered before
            return None
        return self._store.read(lambda tx: tx.repair(claimed.job.id, claimed.job.run))

    def checkpoint(self, claimed: ClaimedJob, partial: PartialResponse) -> None:
        """Keep what has come so far. Silently nothing, once the lease is lost."""

        def keep(tx: Transaction) -> None:
            job = tx.job(claimed.job.id)
            if job is not None and job.lease is not None and job.lease.token == claimed.token:
                tx.checkpoint(job, job.calls, partial)

        self._store.write(keep)
        failpoints.hit("checkpoint.after_commit")

    def complete(self, claimed: ClaimedJob, done: Completion) -> Job:
        """Store the answer, its usage and the delivery that carries it, in one transaction."""

        def move(tx: Transaction) -> Change:
            change = self._complete(tx, claimed, done)
            failpoints.hit("complete.before_commit")
            return change

        change = self._store.write(move, paid=True)
        failpoints.hit("complete.after_commit")

        return change.job

    def complete_many(self, done: Sequence[tuple[ClaimedJob, Completion]]) -> Sequence[Job | LeaseLost]:
        """Several, in one commit; a lease that was lost is said in its place and sinks no other."""

        def complete(tx: Transaction, claimed: ClaimedJob, one: Completion) -> Job | LeaseLost:
            try:
                return self._complete(tx, claimed, one).job
            except LeaseLost as exc:  # raised before anything is written
                return exc

        return self._store.write(lambda tx: [complete(tx, claimed, one) for claimed, one in done], paid=True)

    def fail(self, claimed: ClaimedJob, failure: Failure) -> Job:
        """A try that did not end well: what the machine makes of it, and what it says of the whole queue."""
        context = self._context

        def move(tx: Transaction) -> Change:
            job, call = _held(tx, claimed)
            chance = context.rng.random()
            end = limit_schema_repair(tx, job, failure)
            change = transitions.fail(
                job, end, token=claimed.token, call=call, policy=context.policy, now=tx.now, chance=chance
            )
            if failure.shows_the_key_works:
                resume_if_parked(tx, call.started_at)
            if end.type is ErrorType.SCHEMA and not change.job.state.final:
                tx.save_repair(job.id, job.run, SchemaRepair(text=end.partial, problem=end.message))
            apply_backpressure(tx, job, change, failure)
            if failure.reason == "connect":
                upstream_circuit.record_failure(tx, chance=chance)
            change = fallback.fall_back(change, failure, closed=model_fallback.throttled_families(tx))
            record_spend(tx, change)
            return outcomes.save_transition(tx, change, context, partial=failure.partial)

        return self._announce(self._store.write(move, paid=failure.sent))

    def release(self, claimed: ClaimedJob) -> Job:
        """Hand back a job of which nothing was sent."""

        def move(tx: Transaction) -> Change:
            job, call = _held(tx, claimed)
            return outcomes.save_transition(
                tx, transitions.release(job, token=claimed.token, call=call, now=tx.now), self._context
            )

        return self._announce(self._store.write(move))

    def interrupt(self, claimed: ClaimedJob, partial: PartialResponse, *, why: str) -> Job:
        """A planned stop outlasted its drain: the call is given up, and goes the way of its onInterrupt."""
        return self._announce(
            self._store.write(lambda tx: self._interrupt(tx, claimed.job.id, why, claimed, partial), paid=True)
        )

    def renew(self, worker: str, job_ids: Collection[str]) -> dict[str, str]:
        """
        Extend the leases of what that worker has in hand; answers what it still holds, token by job.

        The rest it must drop; and what it has lost hold of must run out.
        """
        seconds = self._context.policy.lease

        return dict(self._store.write(lambda tx: tx.renew_leases(worker, job_ids, tx.now + seconds)))

    def cancel_requests(self, worker: str) -> Collection[str]:
        """Which of its jobs someone wants stopped."""
        return self._store.read(lambda tx: tx.cancel_requested(worker))

    def running(self) -> Sequence[Job]:
        """Every running job, for whoever judges whether its worker lives."""
        return self._store.read(lambda tx: tx.running())

    def reap(self, job_id: str, token: str, *, why: str) -> Job | None:
        """Take a job back from a worker that is known to be dead. None: it had moved on."""

        def move(tx: Transaction) -> Change | None:
            job = tx.job(job_id)
            if job is None or job.lease is None or job.lease.token != token:
                return None
            return self._interrupt(tx, job_id, why, None, tx.partial(job_id) or PartialResponse())

        change = self._store.write(move)

        return None if change is None else self._announce(change)

    def _complete(self, tx: Transaction, claimed: ClaimedJob, done: Completion) -> Change:
        job, call = _held(tx, claimed)
        change = transitions.complete(job, done, token=claimed.token, call=call, now=tx.now)
        resume_if_parked(tx, call.started_at)
        record_spend(tx, change)

        return outcomes.save_transition(tx, change, self._context, done=done)

    def _claim(
        self, tx: Transaction, worker: str, limit: int, ids: Collection[str] | None, rooms: FamilyCapacity
    ) -> Sequence[ClaimedJob]:
        holds = load_holds(tx)
        if holds.blocks_all:
            return []
        if holds.probe_only:
            limit = min(limit, 1)
        gate, budgets = ClaimLimiter(tx, rooms, holds.throttled_families), Budgets(tx, self._context.prices)
        claimed: list[ClaimedJob] = []
        while len(claimed) < limit:
            batch = self._candidates(tx, limit - len(claimed), ids, gate, budgets.blocked_owners)
            for job in batch:
                if budgets.admits(job) and gate.admits(job):
                    claimed.append(self._take(tx, job, worker, budgets))
            if not batch or ids is not None:
                break
        gate.save()
        if claimed:
            start_probes(tx, holds)

        return claimed

    def _candidates(
        self,
        tx: Transaction,
        limit: int,
        ids: Collection[str] | None,
        gate: ClaimLimiter,
        owners: Collection[str],
    ) -> Sequence[Job]:
        groups, families = gate.blocked_groups, gate.blocked_families
        if ids is None:
            return tx.due(limit=limit, skip_groups=groups, skip_families=families, skip_owners=owners)
        named = [job for job in map(tx.job, ids) if job is not None]
        free = [
            job
            for job in named
            if job.state == "queued"
            and job.lane == "live"
            and job.owner not in owners
            and job.due_at <= tx.now
            and job.group not in groups
            and job.family not in families
        ]
        return sorted(free, key=lambda job: (job.rank, job.id))[:limit]

    def _take(self, tx: Transaction, job: Job, worker: str, budgets: Budgets) -> ClaimedJob:
        job = model_fallback.replace_retired_model(tx, job, self._context)
        lease = self._context.lease(worker, tx.now, self._context.policy.lease)
        change = transitions.claim(job, lease=lease, now=tx.now)
        request = tx.request(job.id)
        if request is None or change.call is None:
            raise NotFound(f"the request of job {job.request_id} is gone")
        call = replace(change.call, reserved_usd=budgets.reserve(job, request))
        tx.save(replace(change, call=call))

        return ClaimedJob(
            job=change.job, call=call, request=model_fallback.adapt_request(request, change.job, self._context)
        )

    def _interrupt(
        self, tx: Transaction, job_id: str, why: str, claimed: ClaimedJob | None, partial: PartialResponse
    ) -> Change:
        context = self._context
        job = tx.job(job_id)
        if job is None:
            raise NotFound()
        call = tx.call(job_id, job.calls) or Call(
            job_id=job_id, number=job.calls, run=job.run, started_at=tx.now, worker=""
        )
        change = transitions.interrupt(
            job,
            partial,
            call=call,
            why=why,
            policy=context.policy,
            now=tx.now,
            chance=context.rng.random(),
            token=None if claimed is None else claimed.token,
        )
        record_spend(tx, change)
        return outcomes.save_transition(tx, change, context, partial=partial.text)

    def _announce(self, change: Change) -> Job:
        if change.ready_now:
            self._context.notifier.notify((change.job.id,))

        return change.job


def _held(tx: Transaction, claimed: ClaimedJob) -> tuple[Job, Call]:
    job = tx.job(claimed.job.id)
    if job is None:
        raise LeaseLost()
    transitions.fence(job, claimed.token)

    return job, tx.call(job.id, job.calls) or claimed.call


def limit_schema_repair(tx: Transaction, job: Job, failure: Failure) -> Failure:
    """An answer that does not fit its schema is asked for once more, and that is all: a second such end is the end."""
    if failure.type is not ErrorType.SCHEMA or tx.repair(job.id, job.run) is None:
        return failure

    return replace(failure, remedy=Remedy.FAIL, message=f"{failure.message}, also after it was asked to mend that")


def apply_backpressure(tx: Transaction, job: Job, change: Change, failure: Failure) -> None:
    """What a failed try says of the whole queue, or of a family of models."""
    now = tx.now
    if failure.remedy is Remedy.PARK:
        current = load_holds(tx).get(PARK)
        until = now + min(max(PROBE_EVERY, failure.retry_after or 0.0), MAX_PROBE_DELAY)
        reason = "spend_limit" if failure.type is ErrorType.BUDGET else "key_refused"
        tx.save_hold(QueueHold(scope=PARK, reason=reason, since=current.since if current else now, until=until))
    elif failure.remedy is Remedy.THROTTLE and change.job.due_at > now:
        scope, reason = HoldScope.family(job.family), failure.type.value
        current = load_holds(tx).get(scope)
        if current is not None and now - (current.until or 0.0) > model_fallback.SAME_TROUBLE:
            tx.delete_hold(scope)  # it is over; this one begins now
        tx.save_hold(QueueHold(scope=scope, reason=reason, since=now, until=change.job.due_at))


def record_spend(tx: Transaction, change: Change) -> None:
    """What a try cost goes into the sums in the transaction that ends it; what was never sent is none."""
    if change.call is not None and change.call.sent:
        tx.add_spend(day_of(tx.now), change.job, change.call)


def resume_if_parked(tx: Transaction, began_at: float) -> None:
    """A call that began after the park shows that the key works again. Older ones say nothing of it."""
    park = load_holds(tx).get(PARK)
    if park is not None and began_at > park.since:
        release(tx, PARK)
