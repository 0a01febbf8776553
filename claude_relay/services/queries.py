"""Read-only queries about jobs, groups, costs and the relay itself, as wire bodies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..core import wire
from ..core.collections.collection import MARK
from ..core.deliveries.delivery import DeliveryState
from ..core.jobs.fairness import count_by
from ..core.jobs.holds import PAUSE, Holds
from ..core.jobs.job import JOB_STATES, Job
from ..core.jobs.job_filter import JobFilter
from ..errors import Damaged, NotFound, Problem
from .context import Context, get_job
from .cost_report import cost_report
from .drain import drain_body
from .holds import paused_destinations
from .transactions import query
from .types import JobRef, Page
from .wait_reasons import WaitReasons, batch_of

if TYPE_CHECKING:
    from ..core.files.fetched import FetchedFile
    from ..core.jobs.events import Event
    from ..core.jobs.holds import QueueHold
    from ..core.jobs.submission import Exchange, Submission
    from ..ports import ReadTransaction

#: Jobs whose rows are checked in one transaction.
_DAMAGE_STEP = 100
#: A worker counts as dead after this many seconds without a heartbeat.
WORKER_SILENCE = 60.0


class Queries:
    """Queries of callers and operators; none of them writes."""

    def __init__(
        self,
        context: Context,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._context = context
        self._store = context.store
        self._clock, self._sleep = clock, sleep

    @query
    def status(self, tx: ReadTransaction, ref: JobRef) -> dict[str, Any]:
        """The status of a job (`CONTRACT.md` §4)."""
        return self._status_body(tx, get_job(tx, ref))

    @query
    def result(self, tx: ReadTransaction, ref: JobRef) -> bytes | None:
        """The body of the callback, byte for byte; None until the run has ended."""
        job = get_job(tx, ref)
        outcome = tx.outcome(job.id, job.run) if job.state.final else None
        if job.state.final and (outcome is None or not outcome.body):
            raise NotFound(f"The result of job {job.request_id} was erased on delivery (retain: metadata).")

        return outcome.body if outcome else None

    def wait(
        self, ref: JobRef, *, timeout: float, until: Callable[[dict[str, Any]], bool] | None = None, every: float = 0.1
    ) -> dict[str, Any]:
        """Poll the status until `until` is true of it (default: the run has ended), for at most `timeout` seconds."""
        done = until or (lambda status: status["status"] in ("completed", "failed"))
        give_up = self._clock() + timeout
        while not done(status := self.status(ref)) and (left := give_up - self._clock()) > 0:
            self._sleep(min(every, left))

        return status

    @query
    def jobs(self, tx: ReadTransaction, which: JobFilter) -> Page:
        """A page of jobs, newest first."""
        page, cursor = self._context.search.find(tx, which)
        waits = WaitReasons(tx, page, self._context.prices)

        return Page(jobs=[_listed(tx, job, waits) for job in page], cursor=cursor)

    @query
    def job_details(self, tx: ReadTransaction, ref: JobRef, *, largest: int | None = None) -> dict[str, Any]:
        """
        Status, request, ledger, deliveries and events of a job. Never its webhook headers.

        A request of more than `largest` bytes is `{}`: it is not read.
        """
        job = get_job(tx, ref)
        whole = largest is None or tx.request_size(job.id) <= largest
        request = tx.request(job.id) if whole else tx.callback_fields(job.id)
        partial = tx.partial(job.id)
        batch = batch_of(tx, job)
        attempts = [
            {
                "at": wire.timestamp(attempt.at),
                "url": attempt.url,
                "statusCode": attempt.reply.status,
                "ms": attempt.reply.ms,
                "reply": attempt.reply.excerpt or attempt.reply.error or "",
                "nextAttemptAt": wire.optional_timestamp(attempt.next_due),
            }
            for attempt in tx.delivery_attempts(job.id)
        ]
        warnings: list[str] = []
        if request is not None:
            from . import model_fallback

            fallback = model_fallback.warnings(tx, job, request, self._context) if whole else ()
            warnings = [*request.warnings, *fallback]

        return {
            **self._status_body(tx, job),
            "owner": job.owner,
            "run": job.run,
            "template": job.template,
            **_row_of(job),
            "possibleDuplicateCharge": job.ambiguous,
            "unacked": _unacked(tx, job),
            "batch": wire.batch_body(batch) if batch else None,
            "partialResponse": partial.text if partial else None,
            "webhookUrl": request.webhook_url if request else None,
            "failureWebhookUrl": request.failure_webhook_url if request else None,
            "request": _without_file_data(request.request, tx.files(job.id)) if request else None,
            "warnings": warnings,
            "calls": [wire.call_body(call) for call in tx.calls(job.id)],
            "deliveries": attempts,
            "events": [wire.event_body(event, request_id=job.request_id) for event in tx.events(job.id)],
        }

    @query
    def partial(self, tx: ReadTransaction, ref: JobRef) -> str:
        """The text of the running call up to its last checkpoint; the answer, once it is complete."""
        partial = tx.partial(get_job(tx, ref).id)

        return partial.text if partial else ""

    @query
    def events_after(
        self, tx: ReadTransaction, cursor: int | None, *, limit: int = 500, owner: str | None = None
    ) -> tuple[Sequence[dict[str, Any]], int]:
        """Events after `cursor` (None: the last `limit`), oldest first, and the cursor for the next call."""
        rows, last = tx.events_after(cursor, limit=limit, owner=owner)

        return [_event_body(seq, request_id, event) for seq, request_id, event in rows], last

    @query
    def group(self, tx: ReadTransaction, name: str) -> dict[str, Any]:
        """The limits of a group and the number of its running jobs."""
        group = tx.group(name)

        return {
            "group": name,
            "concurrency": group.concurrency,
            "rate": group.rate,
            "paused": group.paused_at is not None,
            "running": count_by("group", tx.running_by_flow())[name],
        }

    @query
    def overview(self, tx: ReadTransaction) -> dict[str, Any]:
        """The state of the complete relay on one screen."""
        counts = tx.counts()
        oldest = tx.oldest_waiting()
        running = tx.running_by_worker()  # by the leases: a heartbeat is up to 15 seconds old

        return {
            "timestamp": wire.timestamp(tx.now),
            "jobs": {state.value: counts.get(state, 0) for state in JOB_STATES},
            "oldestWaitingSeconds": None if oldest is None else round(max(0.0, tx.now - oldest), 3),
            "paused": [group.name for group in tx.groups() if group.paused_at is not None],
            "groups": _groups(tx),
            "holds": [
                {
                    "scope": str(hold.scope),
                    "reason": hold.reason,
                    "until": wire.optional_timestamp(hold.until),
                    "detail": hold.detail,
                }
                for hold in Holds(tx.holds(), tx.now).listed
            ],
            "drain": drain_body(tx),
            "workers": [
                {
                    "id": worker.id,
                    "host": worker.host,
                    "pid": worker.pid,
                    "slots": worker.slots,
                    "running": running.get(worker.id, 0),
                    "seenAt": wire.timestamp(worker.seen_at),
                    "alive": tx.now - worker.seen_at < WORKER_SILENCE,
                }
                for worker in tx.workers()
            ],
            "deliveries": tx.delivery_counts(),
            "unacked": tx.unacked(),
            "batches": tx.batch_counts(),
            "destinations": [
                wire.destination_body(destination, waiting=tx.waiting_for(destination.name))
                for destination in tx.destinations()
                if destination.slowed or destination.recovering
            ],
        }

    @query
    def resolve_conversation(
        self, tx: ReadTransaction, submission: Submission, owner: str
    ) -> tuple[Submission, Sequence[Exchange]]:
        """A submission with the options it would inherit by `continueFrom`, and the turns before it."""
        from .conversation import join, turns_through

        conversation = join(tx, submission, owner, self._context)
        if conversation is None:
            return submission, ()

        return conversation.submission, turns_through(tx, conversation.earlier)

    @query
    def cost(self, tx: ReadTransaction, *, by: str, which: JobFilter | None = None) -> dict[str, Any]:
        """Spend by day, key, model, group, mode or template of the calls that the filter selects; None: of all."""
        return cost_report(tx, by=by, which=which or JobFilter())

    @query
    def refs(self, tx: ReadTransaction, which: JobFilter) -> Sequence[JobRef]:
        """The jobs that the filter selects, newest first, up to its limit."""
        return [JobRef(request_id=job.request_id, owner=job.owner) for job in tx.jobs(which)]

    @query
    def readiness_problems(self, tx: ReadTransaction) -> Sequence[Problem]:
        """Reasons why jobs would be accepted but not run; empty if there are none."""
        problems = []
        if not any(tx.now - worker.seen_at < WORKER_SILENCE for worker in tx.workers()):
            problems.append(Problem(field="worker", problem="has not been seen lately: start claude-relay worker"))
        holds = Holds(tx.holds(), tx.now)
        if holds.draining:
            problem = "is drained, and takes no new jobs: claude-relay resume"
            problems.append(Problem(field="queue", problem=problem))
        for hold in _stops(holds):
            parked = f"is parked ({hold.reason}): claude-relay doctor"
            problem = "is paused: claude-relay resume" if hold.scope == PAUSE else parked
            problems.append(Problem(field="queue", problem=problem))

        return problems

    @query
    def latest_destinations(self, tx: ReadTransaction, limit: int = 20) -> Sequence[str]:
        """Destinations of the latest callbacks, as `https://host`, newest first."""
        return tx.latest_destinations(limit)

    @query
    def queue_summary(self, tx: ReadTransaction) -> str:
        """The queue in a few words: the number of waiting jobs, and whether it is paused or parked."""
        waiting = f"{tx.waiting()} waiting"
        holds = Holds(tx.holds(), tx.now)
        stopped = [f"{'paused' if hold.scope == PAUSE else 'parked'} ({hold.reason})" for hold in _stops(holds)]

        return ", ".join([waiting, *(["drained: no new jobs"] if holds.draining else []), *stopped])

    @query
    def clock_problem(self, tx: ReadTransaction) -> str | None:
        """A fault of the wall clock, as far as the store shows it; or None."""
        from ..core import clock_check

        newest = tx.jobs(JobFilter(limit=1))

        return clock_check.find_clock_problem(tx.now, newest[0].created_at if newest else None)

    def check(self, *, deep: bool = False) -> str | None:
        """A fault of the store's file, or None. Reads the complete file."""
        return self._store.check(deep=deep)

    def damaged(self) -> Iterator[tuple[str, str]]:
        """Rows that differ from what was written, as (requestId, what): reads every request, answer and callback."""
        cursor: str | None = ""
        while cursor is not None:
            rows, cursor = self._damaged(cursor)
            yield from rows
        yield from ((job_id, "its row is lost") for job_id in self._store.read(lambda tx: tx.orphaned_requests()))

    @query
    def _damaged(self, tx: ReadTransaction, cursor: str) -> tuple[Sequence[tuple[str, str]], str | None]:
        return tx.damaged(cursor=cursor, limit=_DAMAGE_STEP)

    @query
    def shared_value(self, tx: ReadTransaction, key: str) -> Any:
        """A value that another process has stored for all of them (`Maintenance.set_shared`)."""
        return tx.shared_value(key)

    def _status_body(self, tx: ReadTransaction, job: Job) -> dict[str, Any]:
        return _status(tx, job, WaitReasons(tx, [job], self._context.prices))


def _stops(holds: Holds) -> Sequence[QueueHold]:
    """A pause and a park of the queue, without the pause that belongs to a drain."""
    return [hold for hold in holds.queue_wide if not (holds.draining and hold.scope == PAUSE)]


def _unacked(tx: ReadTransaction, job: Job) -> bool:
    """Whether its result was delivered but not acknowledged, in a group whose results usually are."""
    delivery = tx.delivery(job.id) if job.state.final else None
    delivered = delivery is not None and delivery.run == job.run and delivery.state is DeliveryState.DELIVERED

    return delivered and tx.acked_at(job.id, job.run) is None and tx.acks_expected(job.group)


def _listed(tx: ReadTransaction, job: Job, waits: WaitReasons) -> dict[str, Any]:
    """The status of a job in a list, which one with damaged content must not end."""
    try:
        return _status(tx, job, waits)
    except Damaged as exc:
        return {"requestId": job.request_id, "status": wire.STATUS[job.state], "error": str(exc)}


def _status(tx: ReadTransaction, job: Job, waits: WaitReasons) -> dict[str, Any]:
    delivery = tx.delivery(job.id) if job.state.final else None
    if delivery is not None and delivery.run != job.run:
        delivery = None

    acked = tx.acked_at(job.id, job.run) if job.state.final else None
    waits_for = delivery.destination if delivery is not None and not delivery.state.final else None
    destination = tx.destination(waits_for) if waits_for is not None else None
    paused = waits_for is not None and waits_for in paused_destinations(tx)

    return wire.status_body(
        job,
        metadata=tx.metadata(job.id),
        waiting_for=waits.reason(job),
        position=waits.position(job),
        delivery=delivery,
        acked=acked,
        destination=destination,
        destination_paused=paused,
    )


def _groups(tx: ReadTransaction) -> list[dict[str, Any]]:
    """Groups that have running jobs or limits of their own."""
    running = count_by("group", tx.running_by_flow())
    stored = {group.name: group for group in tx.groups()}

    return [
        {
            "group": name,
            "running": running.get(name, 0),
            "concurrency": stored[name].concurrency if name in stored else None,
            "rate": stored[name].rate if name in stored else None,
            "paused": name in stored and stored[name].paused_at is not None,
        }
        for name in sorted({*running, *stored})
    ]


def _row_of(job: Job) -> dict[str, Any]:
    """The collection of a row, and its number there."""
    if job.collection is None:
        return {}

    return {"collectionId": job.request_id.rpartition(":")[0], "row": job.row}


def _event_body(seq: int, request_id: str, event: Event) -> dict[str, Any]:
    name = request_id.removesuffix(MARK)
    body = {"cursor": seq, **wire.event_body(event, request_id=name)}
    if name != request_id:  # of a collection as a whole
        body["collectionId"] = name

    return body


def _without_file_data(request: dict[str, Any], fetched: Sequence[FetchedFile]) -> dict[str, Any]:
    """The request without base64: files by name, type and size, and those from a URL by hash, too."""
    if not request.get("files"):
        return request
    by_number = {file.number: file for file in fetched}

    return {
        **request,
        "files": [_file_body(file, by_number.get(number)) for number, file in enumerate(request["files"])],
    }


def _file_body(file: dict[str, Any], fetched: FetchedFile | None) -> dict[str, Any]:
    body = {key: value for key, value in file.items() if key != "data"}
    if fetched is not None:
        return {
            **body,
            "name": fetched.name,
            "mediaType": fetched.media_type,
            "size": fetched.size,
            "sha256": fetched.sha256,
            "fetchedAt": wire.timestamp(fetched.at),
        }
    if "data" in file:
        return {**body, "size": len(file["data"]) * 3 // 4}

    return body
