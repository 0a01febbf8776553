"""Submit: admission, duplicates, and storing new jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .. import failpoints
from ..core.batches import choose_lane
from ..core.jobs import transitions
from ..core.jobs.job import Job, State
from ..core.jobs.submission import StoredRequest, Submission
from ..core.keys import ADMIN
from ..core.text.ids import uuid7
from ..errors import Conflict, RelayError
from .conversation import join
from .transactions import query, transaction, write_later
from .types import Accepted, Outcome, PreparedSubmit

if TYPE_CHECKING:
    from ..core.jobs.tombstone import Tombstone
    from ..ports import ReadTransaction, Transaction
    from .admission import Admission
    from .context import Context
    from .gone_endpoints import GoneEndpoints

_REUSED = "requestId {} was used before, for another body; use a new one"
_PURGED = "this job ran before and was purged after its retention: nothing runs again; use a new requestId for that"


class Submitter:
    """Stores submissions as jobs."""

    def __init__(self, context: Context, admission: Admission, gone_endpoints: GoneEndpoints) -> None:
        self._context = context
        self._store = context.store
        self._admission = admission
        self._gone_endpoints = gone_endpoints

    def submit(self, submission: Submission, *, owner: str = ADMIN) -> Accepted:
        """Store one job; see `Relay.submit`."""
        [result] = self.submit_many([submission], owner=owner)
        if isinstance(result, RelayError):
            raise result

        return result

    def prepare(self, submission: Submission, *, owner: str, now: float) -> PreparedSubmit | None:
        """Admit one job, to be stored without waiting; None for one that `submit` must answer."""
        if submission.request.get("continueFrom"):
            return None  # its conversation may add to the answer
        submission = self._gone_endpoints.with_warnings(submission)
        if self._admission.refusal(1, owner) is not None:
            return None
        new_id = submission.request_id or self._new_request_id(now)

        def store(done: Callable[[Outcome], None]) -> None:
            def stored(result: tuple[Accepted | RelayError, bool] | None, fault: BaseException | None) -> None:
                if fault is not None or result is None:
                    done(fault or RelayError())
                    return
                accepted, is_due = result
                failpoints.hit("submit.after_commit")
                if is_due and isinstance(accepted, Accepted):
                    self._context.notifier.notify([accepted.job.id])
                done(accepted)

            def add(tx: Transaction) -> tuple[Accepted | RelayError, bool]:
                result = self._add(tx, submission, owner, new_id)
                failpoints.hit("submit.before_commit")

                return result

            try:
                write_later(self._store, add, stored, ahead=lambda reads: self._look_ahead(reads, [submission], owner))
            except RelayError as exc:
                done(exc)

        return PreparedSubmit(
            request_id=new_id, warnings=submission.warnings, webhook_empty=submission.webhook_empty, store=store
        )

    def submit_many(self, submissions: Sequence[Submission], *, owner: str = ADMIN) -> Sequence[Accepted | RelayError]:
        """Store several jobs in one commit; see `Relay.submit_many`."""
        submissions = [self._gone_endpoints.with_warnings(submission) for submission in submissions]
        refusal = self._admission.refusal(len(submissions), owner)
        if refusal is not None:
            return [existing or refusal for existing in self._existing_jobs(submissions, owner)]

        results = self._add_all(submissions, owner)
        failpoints.hit("submit.after_commit")
        ready = [result.job.id for result, is_due in results if is_due and isinstance(result, Accepted)]
        if ready:
            # Notify after the commit: a worker that wakes earlier would look for a row it cannot see yet.
            self._context.notifier.notify(ready)

        return [result for result, _ in results]

    @query
    def _existing_jobs(
        self, tx: ReadTransaction, submissions: Sequence[Submission], owner: str
    ) -> Sequence[Accepted | Conflict | None]:
        return [_existing_job(tx, submission, owner) for submission in submissions]

    def _look_ahead(self, reads: ReadTransaction, submissions: Sequence[Submission], owner: str) -> None:
        for submission in submissions:
            name = submission.request.get("continueFrom")
            if name or not reads.refuses_used_ids:
                _existing_job(reads, submission, owner)
            if name:
                reads.find(name, owner)

    @transaction(ahead=_look_ahead)
    def _add_all(
        self, tx: Transaction, submissions: Sequence[Submission], owner: str
    ) -> Sequence[tuple[Accepted | RelayError, bool]]:
        results = [self._add(tx, submission, owner) for submission in submissions]
        failpoints.hit("submit.before_commit")

        return results

    def _new_request_id(self, now: float) -> str:
        return uuid7(now, self._context.rng.randbytes(10))

    def _add(
        self, tx: Transaction, submission: Submission, owner: str, new_id: str | None = None
    ) -> tuple[Accepted | RelayError, bool]:
        """Add a job unless it exists; returns the result, and whether a new job may start at once."""
        # A conversation may be refused, and then there is no INSERT that would refuse a used id.
        look = not tx.refuses_used_ids or submission.request.get("continueFrom")
        if look and (existing := _existing_job(tx, submission, owner)) is not None:
            return existing, False

        try:
            conversation = join(tx, submission, owner, self._context)
        except RelayError as exc:
            return exc.with_traceback(None), False  # a traceback would keep the submission alive
        submission = conversation.submission if conversation else submission

        now = tx.now
        request_id = submission.request_id or new_id or self._new_request_id(now)
        job = new_job(submission, self._context, owner=owner, request_id=request_id, now=now)
        tx.add(transitions.submit(job, now=now), StoredRequest.of(job.id, submission))
        if conversation and conversation.earlier:
            tx.add_continuation(job.id, conversation.earlier)

        accepted = Accepted(job=job, warnings=submission.warnings, webhook_empty=submission.webhook_empty)
        return accepted, job.due_at <= now


def new_job(
    submission: Submission,
    context: Context,
    *,
    owner: str,
    request_id: str,
    now: float,
    collection: str | None = None,
    row: int | None = None,
) -> Job:
    """The job of a submission, waiting to be claimed; that of a row has its collection and number."""
    policy = context.policy
    due_at = max(now, submission.run_at or now)
    deadline = submission.deadline_at
    lane, give_up_at = choose_lane(
        submission.mode, need_by=submission.need_by, deadline_at=deadline, now=due_at, policy=policy
    )

    return Job(
        id=context.new_id(now),
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
        deadline_at=due_at + policy.deadline if deadline is None else deadline,
        deadline_asked=deadline is not None,
        deadline_fixed=submission.deadline_fixed,
        run_at=submission.run_at if submission.run_at_fixed else None,
        has_webhook=submission.webhook_url is not None,
        prompt_length=submission.prompt_length,
        template=submission.template,
        collection=collection,
        row=row,
    )


def _existing_job(tx: ReadTransaction, submission: Submission, owner: str) -> Accepted | Conflict | None:
    """The job that already has this requestId, or a `Conflict` if its body differs; None for a new requestId."""
    request_id, warnings = submission.request_id, submission.warnings
    if not request_id:
        return None  # a new one is generated for it
    for job in tx.find(request_id, owner):
        if job.body_hash == submission.body_hash:
            return Accepted(job=job, warnings=warnings, duplicate=True, webhook_empty=submission.webhook_empty)
        return Conflict(_REUSED.format(request_id))
    for tombstone in tx.tombstones(request_id, owner):
        if tombstone.body_hash == submission.body_hash:
            job = purged_job(tombstone)
            return Accepted(job=job, warnings=warnings, state_warnings=(_PURGED,), duplicate=True)
        return Conflict(_REUSED.format(request_id))

    return None


def purged_job(tombstone: Tombstone) -> Job:
    """A purged job, as far as its tombstone describes it."""
    return Job(
        id=tombstone.job_id,
        owner=tombstone.owner,
        request_id=tombstone.request_id,
        body_hash=tombstone.body_hash,
        state=tombstone.state,
        version=1,
        created_at=tombstone.created_at,
        updated_at=tombstone.finished_at or tombstone.created_at,
        due_at=tombstone.created_at,
    )
