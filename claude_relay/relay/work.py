"""What a worker does with jobs: claim, send, keep what comes, and bring the call to its end."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from .. import failpoints
from ..core import fallback, machine
from ..core.change import Call, Change
from ..core.failure import Completion, ErrorType, Failure, Partial, Remedy, Repair, Step
from ..core.job import Job
from ..core.ledger import day_of
from ..core.submission import Exchanged
from ..errors import LeaseLost, NotFound
from ..ports import Hold, Unit, View
from . import endings, reach, standing, turning
from .budgets import Budgets
from .conversation import turns_before
from .gate import Gate, Rooms
from .values import Claimed, Tools

#: A parked queue is probed with one job: this often, in seconds, and never less often than that, though Anthropic named
#: a date at the end of the month: a limit can be raised before it ends.
PROBE_EVERY, PROBE_LEAST = 300.0, 3600.0


class Work:
    """The use cases of a worker's slots."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store = tools.store

    def claim(
        self, worker: str, *, limit: int, ids: Collection[str] | None = None, rooms: Rooms | None = None
    ) -> Sequence[Claimed]:
        """
        Up to `limit` due jobs for that worker, each with an open entry in the ledger.

        With `ids`, only those of them that are still to be had; without, a sweep in the order of claiming. Paused and
        full groups, families that are being throttled and a parked queue are passed over; `rooms` says how many more
        calls of each family the worker would make now.
        """
        claimed = self._store.write(lambda unit: self._claim(unit, worker, limit, ids, rooms or Rooms()))
        if claimed:
            failpoints.hit("claim.after_commit")

        return claimed

    def held_back(self) -> float | None:
        """
        In how many seconds a group's rate lets the next of its jobs begin, where jobs that are due wait for room.

        Endless where only the end of a call makes room; None where none is to be had (a pause, a throttle, a spent
        budget), or nobody waits for it.
        """

        def look(view: View) -> float | None:
            holds = {hold.scope: hold for hold in view.holds()}
            away = holds.get(reach.SCOPE)
            if "pause" in holds or "park" in holds or (away is not None and (away.until or 0.0) > view.now):
                return None
            groups = view.groups()
            waits = view.due(
                limit=1,
                skip_groups=[group.name for group in groups if group.paused_at is not None],
                skip_families=_throttled(holds, view.now),
                skip_owners=Budgets(view, self._tools.prices).shut,
            )
            if not waits:
                return None
            return min((group.next_at - view.now for group in groups if group.next_at > view.now), default=math.inf)

        return self._store.read(look)

    def before(self, claimed: Claimed) -> Sequence[Exchanged]:
        """What was said before in its conversation, oldest first; nothing where it begins one."""
        if not claimed.request.request.get("continueFrom"):
            return ()
        return self._store.read(lambda view: turns_before(view, claimed.job.id))

    def sending(self, claimed: Claimed) -> None:
        """
        The first byte is about to go out: from now on the call may be paid for.

        Raises `LeaseLost` if another worker has the job by now: nothing may be sent then.
        """

        def admit(unit: Unit) -> bool:
            reach.found(unit)  # the connection stands, or there would be nothing to send
            return unit.mark_sent(claimed.job.id, claimed.token)

        if not self._store.write(admit):
            raise LeaseLost()
        failpoints.hit("sending.after_commit")

    def going_on(self, claimed: Claimed, step: Step) -> None:
        """
        The same call goes on with another request: in the ledger before its first byte goes out.

        Raises `LeaseLost` if another worker has the job by now: nothing more may be sent then.
        """

        def move(unit: Unit) -> None:
            job, call = _held(unit, claimed)
            change = machine.go_on(job, step, token=claimed.token, call=call, now=unit.now)
            charge(unit, change)
            unit.save(change)

        self._store.write(move)

    def repair(self, claimed: Claimed) -> Repair | None:
        """The answer of this run that did not fit its schema, for Claude to mend."""
        if claimed.job.attempt <= 1:  # nothing was answered before
            return None
        return self._store.read(lambda view: view.repair(claimed.job.id, claimed.job.run))

    def checkpoint(self, claimed: Claimed, partial: Partial) -> None:
        """Keep what has come so far. Silently nothing, once the lease is lost."""

        def keep(unit: Unit) -> None:
            job = unit.job(claimed.job.id)
            if job is not None and job.lease is not None and job.lease.token == claimed.token:
                unit.checkpoint(job, job.calls, partial)

        self._store.write(keep)
        failpoints.hit("checkpoint.after_commit")

    def complete(self, claimed: Claimed, done: Completion) -> Job:
        """Store the answer, its usage and the delivery that carries it, in one transaction."""

        def move(unit: Unit) -> Change:
            change = self._complete(unit, claimed, done)
            failpoints.hit("complete.before_commit")
            return change

        change = self._store.write(move, paid=True)
        failpoints.hit("complete.after_commit")

        return change.job

    def complete_many(self, done: Sequence[tuple[Claimed, Completion]]) -> Sequence[Job | LeaseLost]:
        """Several, in one commit; a lease that was lost is said in its place and sinks no other."""

        def complete(unit: Unit, claimed: Claimed, one: Completion) -> Job | LeaseLost:
            try:
                return self._complete(unit, claimed, one).job
            except LeaseLost as exc:  # raised before anything is written
                return exc

        return self._store.write(lambda unit: [complete(unit, claimed, one) for claimed, one in done], paid=True)

    def fail(self, claimed: Claimed, failure: Failure) -> Job:
        """A try that did not end well: what the machine makes of it, and what it says of the whole queue."""
        tools = self._tools

        def move(unit: Unit) -> Change:
            job, call = _held(unit, claimed)
            chance = tools.random.random()
            end = once_mended(unit, job, failure)
            change = machine.fail(
                job, end, token=claimed.token, call=call, policy=tools.policy, now=unit.now, chance=chance
            )
            if failure.shows_the_key_works:
                unpark(unit, call.started_at)
            if end.type is ErrorType.SCHEMA and not change.job.state.final:
                unit.save_repair(job.id, job.run, Repair(text=end.partial, problem=end.message))
            hold_back(unit, job, change, failure)
            if failure.reason == "connect":
                reach.lost(unit, chance=chance)
            change = fallback.instead_of_failing(change, failure, closed=turning.closed_families(unit))
            charge(unit, change)
            return endings.save(unit, change, tools, partial=failure.partial)

        return self._announce(self._store.write(move, paid=failure.sent))

    def release(self, claimed: Claimed) -> Job:
        """Hand back a job of which nothing was sent."""

        def move(unit: Unit) -> Change:
            job, call = _held(unit, claimed)
            return endings.save(unit, machine.release(job, token=claimed.token, call=call, now=unit.now), self._tools)

        return self._announce(self._store.write(move))

    def interrupt(self, claimed: Claimed, partial: Partial, *, why: str) -> Job:
        """A planned stop outlasted its drain: the call is given up, and goes the way of its onInterrupt."""
        return self._announce(
            self._store.write(lambda unit: self._interrupt(unit, claimed.job.id, why, claimed, partial), paid=True)
        )

    def renew(self, worker: str, job_ids: Collection[str]) -> dict[str, str]:
        """
        Extend the leases of what that worker has in hand; answers what it still holds, token by job.

        The rest it must drop; and what it has lost hold of must run out.
        """
        seconds = self._tools.policy.lease

        return dict(self._store.write(lambda unit: unit.renew(worker, job_ids, unit.now + seconds)))

    def cancels(self, worker: str) -> Collection[str]:
        """Which of its jobs someone wants stopped."""
        return self._store.read(lambda view: view.cancel_requested(worker))

    def leases(self) -> Sequence[Job]:
        """Every running job, for whoever judges whether its worker lives."""
        return self._store.read(lambda view: view.running())

    def reap(self, job_id: str, token: str, *, why: str) -> Job | None:
        """Take a job back from a worker that is known to be dead. None: it had moved on."""

        def move(unit: Unit) -> Change | None:
            job = unit.job(job_id)
            if job is None or job.lease is None or job.lease.token != token:
                return None
            return self._interrupt(unit, job_id, why, None, unit.partial(job_id) or Partial())

        change = self._store.write(move)

        return None if change is None else self._announce(change)

    def _complete(self, unit: Unit, claimed: Claimed, done: Completion) -> Change:
        job, call = _held(unit, claimed)
        change = machine.complete(job, done, token=claimed.token, call=call, now=unit.now)
        unpark(unit, call.started_at)
        charge(unit, change)

        return endings.save(unit, change, self._tools, done=done)

    def _claim(
        self, unit: Unit, worker: str, limit: int, ids: Collection[str] | None, rooms: Rooms
    ) -> Sequence[Claimed]:
        holds = {hold.scope: hold for hold in unit.holds()}
        if "pause" in holds:
            return []
        if (park := holds.get("park")) is not None:
            if park.until is None or park.until > unit.now:
                return []
            limit = min(limit, 1)
        if (away := holds.get(reach.SCOPE)) is not None:
            if (away.until or 0.0) > unit.now:
                return []
            limit = min(limit, 1)
        gate, budgets = Gate(unit, rooms, _throttled(holds, unit.now)), Budgets(unit, self._tools.prices)
        claimed: list[Claimed] = []
        while len(claimed) < limit:
            batch = self._candidates(unit, limit - len(claimed), ids, gate, budgets.shut)
            for job in batch:
                if budgets.admits(job) and gate.admits(job):
                    claimed.append(self._take(unit, job, worker, budgets))
            if not batch or ids is not None:
                break
        gate.save()
        if park is not None and claimed:
            unit.save_hold(replace(park, until=unit.now + PROBE_EVERY))
        if away is not None and claimed:
            reach.looking(unit, away)

        return claimed

    def _candidates(
        self,
        unit: Unit,
        limit: int,
        ids: Collection[str] | None,
        gate: Gate,
        owners: Collection[str],
    ) -> Sequence[Job]:
        groups, families = gate.shut, gate.families
        if ids is None:
            return unit.due(limit=limit, skip_groups=groups, skip_families=families, skip_owners=owners)
        named = [job for job in map(unit.job, ids) if job is not None]
        free = [
            job
            for job in named
            if job.state == "queued"
            and job.lane == "live"
            and job.owner not in owners
            and job.due_at <= unit.now
            and job.group not in groups
            and job.family not in families
        ]
        return sorted(free, key=lambda job: (job.rank, job.id))[:limit]

    def _take(self, unit: Unit, job: Job, worker: str, budgets: Budgets) -> Claimed:
        job = turning.up_to_date(unit, job, self._tools)
        lease = self._tools.lease(worker, unit.now, self._tools.policy.lease)
        change = machine.claim(job, lease=lease, now=unit.now)
        request = unit.request(job.id)
        if request is None or change.call is None:
            raise NotFound(f"the request of job {job.request_id} is gone")
        call = replace(change.call, reserved_usd=budgets.reserve(job, request))
        unit.save(replace(change, call=call))

        return Claimed(job=change.job, call=call, request=turning.fitted(request, change.job, self._tools))

    def _interrupt(self, unit: Unit, job_id: str, why: str, claimed: Claimed | None, partial: Partial) -> Change:
        tools = self._tools
        job = unit.job(job_id)
        if job is None:
            raise NotFound()
        call = unit.call(job_id, job.calls) or Call(
            job_id=job_id, number=job.calls, run=job.run, started_at=unit.now, worker=""
        )
        change = machine.interrupt(
            job,
            partial,
            call=call,
            why=why,
            policy=tools.policy,
            now=unit.now,
            chance=tools.random.random(),
            token=None if claimed is None else claimed.token,
        )
        charge(unit, change)
        return endings.save(unit, change, tools, partial=partial.text)

    def _announce(self, change: Change) -> Job:
        if change.ready_now:
            self._tools.bell.ring((change.job.id,))

        return change.job


def _held(unit: Unit, claimed: Claimed) -> tuple[Job, Call]:
    job = unit.job(claimed.job.id)
    if job is None:
        raise LeaseLost()
    machine.fence(job, claimed.token)

    return job, unit.call(job.id, job.calls) or claimed.call


def once_mended(unit: Unit, job: Job, failure: Failure) -> Failure:
    """An answer that does not fit its schema is asked for once more, and that is all: a second such end is the end."""
    if failure.type is not ErrorType.SCHEMA or unit.repair(job.id, job.run) is None:
        return failure

    return replace(failure, remedy=Remedy.FAIL, message=f"{failure.message}, also after it was asked to mend that")


def _throttled(holds: dict[str, Hold], now: float) -> set[str]:
    families = (scope.removeprefix("family:") for scope in holds if scope.startswith("family:"))
    return {family for family in families if (holds[f"family:{family}"].until or 0.0) > now}


def hold_back(unit: Unit, job: Job, change: Change, failure: Failure) -> None:
    """What a failed try says of the whole queue, or of a family of models."""
    now = unit.now
    if failure.remedy is Remedy.PARK:
        known = next((hold for hold in unit.holds() if hold.scope == "park"), None)
        until = now + min(max(PROBE_EVERY, failure.retry_after or 0.0), PROBE_LEAST)
        reason = "spend_limit" if failure.type is ErrorType.BUDGET else "key_refused"
        unit.save_hold(Hold(scope="park", reason=reason, since=known.since if known else now, until=until))
    elif failure.remedy is Remedy.WAIT and change.job.due_at > now:
        scope, reason = f"family:{job.family}", failure.type.value
        known = next((hold for hold in unit.holds() if hold.scope == scope), None)
        if known is not None and now - (known.until or 0.0) > turning.SAME_TROUBLE:
            unit.drop_hold(scope)  # it is over; this one begins now
        unit.save_hold(Hold(scope=scope, reason=reason, since=now, until=change.job.due_at))


def charge(unit: Unit, change: Change) -> None:
    """What a try cost goes into the sums in the transaction that ends it; what was never sent is none."""
    if change.call is not None and change.call.sent:
        unit.charge(day_of(unit.now), change.job, change.call)


def unpark(unit: Unit, began_at: float) -> None:
    """A call that began after the park shows that the key works again. Older ones say nothing of it."""
    held = next((hold for hold in unit.holds() if hold.scope == "park"), None)
    if held is not None and began_at > held.since:
        standing.lift(unit, "park")
