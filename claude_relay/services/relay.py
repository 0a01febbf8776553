"""The one door: what callers and operators ask for, and the ways to the rest of the house."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import failpoints
from ..core.batches import choose_lane
from ..core.clock_step import Clocks
from ..core.deliveries import destination as destinations
from ..core.deliveries import transitions as delivery_transitions
from ..core.deliveries.delivery import Delivery
from ..core.jobs import batch_transitions, transitions
from ..core.jobs.change import Change
from ..core.jobs.holds import PAUSE, QUEUE_WIDE, QueueHold
from ..core.jobs.job import Job, Retain, State
from ..core.jobs.submission import StoredRequest, Submission
from ..core.jobs.tombstone import Tombstone
from ..core.keys import ADMIN
from ..core.models.catalog import ModelCatalog
from ..core.money.prices import PriceList
from ..core.policy import Policy
from ..core.text.ids import GROUP, uuid7
from ..errors import Conflict, InvalidRequest, Problem, RelayError
from ..ports import Group, Notifier, ReadTransaction, Store, Transaction
from . import holds, outcomes, upstream_circuit
from .acks import Acks
from .admission import Admission
from .alerts import Alerts
from .batches import Batches
from .clock_step import ClockStepStore
from .context import Accepted, Context, JobRef, UuidFactory, get_job
from .conversation import join
from .deliveries import Deliveries
from .execution import Execution
from .fetched_files import FetchedFiles
from .gone_endpoints import GoneEndpoints
from .keys import Keys
from .maintenance import Maintenance
from .model_catalog import CachedModelCatalog
from .queries import Queries
from .random_source import BufferedSystemRandom
from .uploaded_files import UploadedFiles


class Relay:
    """
    Accept, cancel, retry, redeliver, pause: every move that someone outside asks for.

    `known` tells what is known of the models. `read` answers questions, `work` is for a worker's slots, `batches` for
    its batches, `attachments` for the files of its jobs, `post` for its senders, `acks` for receivers, `upkeep` for its
    housekeeping.
    """

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        policy: Policy,
        *,
        rng: random.Random | None = None,
        room: Callable[[], str | None] = lambda: None,
        known: Callable[[], ModelCatalog] | None = None,
        prices: PriceList | None = None,
        read_clocks: Callable[[], Clocks] | None = None,
        clock_was_set: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """With `read_clocks`, a calendar that is set moves what is relative along, and `clock_was_set` hears of it."""
        rng = rng or BufferedSystemRandom()
        # Of the store itself: it is asked in the middle of writes, where keeping the time, too, would wait for itself.
        self.model_catalog = known or CachedModelCatalog(store)
        if read_clocks is not None:
            store = ClockStepStore(store, read_clocks, told=clock_was_set)
        self._context = Context(
            store=store,
            notifier=notifier,
            policy=policy,
            rng=rng,
            id_factory=UuidFactory(rng),
            prices=prices or PriceList(dated=""),
            model_catalog=self.model_catalog,
        )
        self._store = store
        self._admission = Admission(store, policy, room=room)
        self.alerts = Alerts(self._context, known=self.model_catalog, room=room)
        self.policy = policy
        self.queries = Queries(self._context)
        self.execution = Execution(self._context)
        self.fetched_files = FetchedFiles(self._context)
        self.uploaded_files = UploadedFiles(self._context)
        self._gone = GoneEndpoints(store)
        self.deliveries = Deliveries(self._context, self._gone)
        self.acks = Acks(self._context)
        self.maintenance = Maintenance(self._context)
        self.keys = Keys(self._context)
        self.batches = Batches(self._context)

    def submit(self, submission: Submission, *, owner: str = ADMIN) -> Accepted:
        """
        Keep a job: when this returns it is on disk.

        The same requestId and body again is the same job; another body is a `Conflict`. Raises `QueueFull` or
        `StoreUnavailable` where it cannot be kept now.
        """
        [answer] = self.submit_many([submission], owner=owner)
        if isinstance(answer, RelayError):
            raise answer

        return answer

    def submit_many(self, submissions: Sequence[Submission], *, owner: str = ADMIN) -> Sequence[Accepted | RelayError]:
        """
        Keep several, in one commit; one that is refused sinks no other.

        Where there is no room for more, what was accepted before is still known again: only what is new is refused.
        """
        submissions = [self._gone.with_warnings(submission) for submission in submissions]
        refusal = self._admission.refusal(len(submissions))
        if refusal is not None:
            return self._store.read(lambda tx: [_known(tx, submission, owner) or refusal for submission in submissions])

        def keep(tx: Transaction) -> list[tuple[Accepted | RelayError, bool]]:
            kept = [self._keep(tx, submission, owner) for submission in submissions]
            failpoints.hit("submit.before_commit")
            return kept

        answers = self._store.write(keep)
        failpoints.hit("submit.after_commit")
        ready = [one.job.id for one, now in answers if now and isinstance(one, Accepted)]
        if ready:
            # After the commit: a worker that wakes first would look for a row it cannot see yet.
            self._context.notifier.notify(ready)

        return [answer for answer, _ in answers]

    def cancel(self, ref: JobRef) -> Job:
        """Stop a job, also in mid-stream; `Conflict` once it has ended."""

        def move(tx: Transaction) -> Change:
            job = get_job(tx, ref)
            call = tx.call(job.id, job.calls) if job.state is State.BATCHED else None
            if call is None:
                return outcomes.save_transition(tx, transitions.cancel(job, now=tx.now), self._context)
            change = outcomes.save_transition(
                tx, batch_transitions.end_in_batch(job, call=call, now=tx.now), self._context
            )
            item = tx.item_of_call(job.id, call.number)
            if item is not None and not tx.count_awaited(item.batch_id):
                tx.poll_now(item.batch_id)  # nobody waits for it any more: it can be cancelled there, too
            return change

        change = self._store.write(move)
        self._context.notifier.notify()

        return change.job

    def retry(self, ref: JobRef, *, options: dict[str, Any] | None = None, model: str | None = None) -> Job:
        """Run the call again: it costs tokens. `options`, already parsed, replace the stored ones by name."""

        def move(tx: Transaction) -> Change:
            job = get_job(tx, ref)
            _refuse_erased(tx, job, "run again")
            request = tx.request(job.id) or StoredRequest(job_id=job.id, request={})
            lane, give_up_at = choose_lane(
                job.mode, need_by=request.need_by, deadline_at=None, now=tx.now, policy=self.policy
            )
            asked = {**request.request.get("options", {}), **(options or {})}
            change = transitions.retry(
                job,
                policy=self.policy,
                now=tx.now,
                model=model or asked.get("model"),
                fallbacks=tuple(asked.get("fallbackModels", ())),
                lane=lane,
                give_up_at=give_up_at,
            )
            if options:
                tx.save_request(replace(request, request={**request.request, "options": asked}))
            return outcomes.save_transition(tx, change, self._context)

        change = self._store.write(move)
        self._context.notifier.notify((change.job.id,))

        return change.job

    def redeliver(self, ref: JobRef, *, url: str | None = None) -> Delivery:
        """Send the stored outcome again, also to another address: free. `Conflict` without outcome or webhook."""

        def move(tx: Transaction) -> Delivery:
            job = get_job(tx, ref)
            if not job.state.final:
                raise Conflict(f"job {job.request_id} has not ended yet: there is no result to send")
            _refuse_erased(tx, job, "sent again")
            delivery = tx.delivery(job.id)
            if delivery is None or delivery.run != job.run:
                if url is None:
                    raise Conflict(f"job {job.request_id} has no webhook: read its result, or name an address")
                return outcomes.create_delivery(tx, job, url, self._context)
            change = delivery_transitions.redeliver(delivery, now=tx.now, url=url)
            tx.save_delivery(change)
            if (destination := tx.destination(change.delivery.destination)) is not None:
                tx.save_destination(destinations.probe_soon(destination, now=tx.now))
            return change.delivery

        delivery = self._store.write(move)
        self._context.notifier.notify()

        return delivery

    def pause(self, group: str | None = None) -> None:
        """Take no more jobs of that group, or (None) none at all. What runs goes on."""

        _check_group(group)

        def hold(tx: Transaction) -> None:
            if group is None:
                tx.save_hold(QueueHold(scope=PAUSE, reason="paused", since=tx.now))
            elif (known := tx.group(group)).paused_at is None:
                tx.save_group(replace(known, paused_at=tx.now))

        self._store.write(hold)

    def resume(self, group: str | None = None) -> None:
        """Go on; default deadlines get the time back that they stood still."""

        _check_group(group)

        def release(tx: Transaction) -> None:
            if group is not None:
                known = tx.group(group)
                if known.paused_at is not None:
                    holds.release_group(tx, group, known.paused_at)
                    tx.save_group(replace(known, paused_at=None))
                return
            holds.release(tx, *QUEUE_WIDE)
            upstream_circuit.record_success(tx)  # or will be: whoever asks for it wants it tried now

        self._store.write(release)
        self._context.notifier.notify()

    def set_group(self, name: str, *, concurrency: int | None, rate: float | None) -> Group:
        """How many of a group may run at once, and how many may start a minute; None: no limit."""
        problems = []
        if concurrency is not None and concurrency < 1:
            problems.append(Problem(field="concurrency", problem="must be 1 or more; pause the group to stop it"))
        if rate is not None and not rate > 0:
            problems.append(
                Problem(field="rate", problem="must be more than 0 jobs a minute; pause the group to stop it")
            )
        if problems:
            raise InvalidRequest(problems=problems)

        def save(tx: Transaction) -> Group:
            group = replace(tx.group(name), concurrency=concurrency, rate=rate, next_at=0.0)
            tx.save_group(group)
            return group

        group = self._store.write(save)
        self._context.notifier.notify()

        return group

    def backup(self, target: Path) -> None:
        """A consistent copy of the whole store, taken while work goes on."""
        self._store.backup(target)

    def close(self) -> None:
        """Close the store and take the bell down; what was handed in is finished first."""
        self._store.close()
        self._context.notifier.close()

    def _keep(self, tx: Transaction, submission: Submission, owner: str) -> tuple[Accepted | RelayError, bool]:
        if (known := _known(tx, submission, owner)) is not None:
            return known, False

        try:
            joined = join(tx, submission, owner, self._context)
        except RelayError as exc:
            return exc, False
        submission = joined.submission if joined else submission

        request_id = submission.request_id or uuid7(tx.now, self._context.rng.randbytes(10))
        now = tx.now
        job = self._new_job(submission, owner=owner, request_id=request_id, now=now)
        request = StoredRequest(
            job_id=job.id,
            request=submission.request,
            webhook_url=submission.webhook_url,
            failure_webhook_url=submission.failure_webhook_url,
            webhook_headers=submission.webhook_headers,
            metadata=submission.metadata,
            max_cost_usd=submission.max_cost_usd,
            need_by=submission.need_by,
            warnings=submission.warnings,
        )
        tx.add(transitions.submit(job, now=now), request)
        if joined and joined.earlier:
            tx.add_continuation(job.id, joined.earlier)

        return Accepted(job=job, warnings=submission.warnings), job.due_at <= now

    def _new_job(self, submission: Submission, *, owner: str, request_id: str, now: float) -> Job:
        due_at = max(now, submission.run_at or now)
        deadline = submission.deadline_at
        lane, give_up_at = choose_lane(
            submission.mode, need_by=submission.need_by, deadline_at=deadline, now=due_at, policy=self.policy
        )

        return Job(
            id=self._context.new_id(now),
            owner=owner,
            request_id=request_id,
            body_hash=submission.body_hash,
            state=State.QUEUED,
            version=1,
            created_at=now,
            updated_at=now,
            run_started_at=now,
            due_at=due_at,
            priority=submission.priority,
            group=submission.group,
            model=submission.model,
            fallbacks=tuple(submission.request.get("options", {}).get("fallbackModels", ())),
            mode=submission.mode,
            lane=lane,
            give_up_at=give_up_at,
            on_interrupt=submission.on_interrupt,
            retain=submission.retain,
            deadline_at=due_at + self.policy.deadline if deadline is None else deadline,
            deadline_asked=deadline is not None,
            deadline_fixed=submission.deadline_fixed,
            run_at=submission.run_at if submission.run_at_fixed else None,
            has_webhook=submission.webhook_url is not None,
            prompt_length=submission.prompt_length,
        )


def _check_group(name: str | None) -> None:
    """Refuse a name that no job can have."""
    if name is not None and not GROUP.fullmatch(name):
        raise InvalidRequest(problems=[Problem(field="group", problem="must be 1 to 64 of A-Z a-z 0-9 . _ -")])


def _known(tx: ReadTransaction, submission: Submission, owner: str) -> Accepted | Conflict | None:
    """The job that has that requestId already: the same one, or a conflict; None where it is new."""
    request_id, warnings = submission.request_id, submission.warnings
    if not request_id:
        return None  # one is made for it, which stands nowhere yet
    for job in tx.find(request_id, owner):
        if job.body_hash == submission.body_hash:
            return Accepted(job=job, warnings=warnings, duplicate=True)
        return Conflict(_USED.format(request_id))
    for gone in tx.tombstones(request_id, owner):
        if gone.body_hash == submission.body_hash:
            return Accepted(job=_purged(gone), warnings=(*warnings, _PURGED), duplicate=True)
        return Conflict(_USED.format(request_id))

    return None


def _refuse_erased(tx: Transaction, job: Job, what: str) -> None:
    """`retain: metadata` leaves nothing to do it with."""
    if job.retain is not Retain.METADATA or not job.state.final:
        return
    outcome = tx.outcome(job.id, job.run)
    if outcome is not None and not outcome.body:
        raise Conflict(f"job {job.request_id} cannot be {what}: its content was erased on delivery (retain: metadata)")


_USED = "requestId {} was used before, for another body; use a new one"
_PURGED = "this job ran before and was purged after its retention: nothing runs again; use a new requestId for that"


def _purged(gone: Tombstone) -> Job:
    """A purged job, as far as anything is known of it."""
    return Job(
        id=gone.job_id,
        owner=gone.owner,
        request_id=gone.request_id,
        body_hash=gone.body_hash,
        state=gone.state,
        version=1,
        created_at=gone.created_at,
        updated_at=gone.finished_at or gone.created_at,
        due_at=gone.created_at,
    )
