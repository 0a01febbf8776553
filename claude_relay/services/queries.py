"""Every question about jobs, answered in the words of the wire."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..core import clock_check, wire
from ..core.deliveries.delivery import DeliveryState
from ..core.files.fetched import FetchedFile
from ..core.jobs.events import Event
from ..core.jobs.holds import PAUSE, Holds
from ..core.jobs.job import Job, State
from ..core.jobs.submission import Exchange, Submission
from ..errors import InvalidRequest, NotFound, Problem
from ..ports import JobFilter, ReadTransaction
from . import model_fallback
from .context import Context, JobRef, Page, get_job
from .conversation import join, turns_up_to
from .cost_report import costs
from .wait_reasons import WaitReasons, batch_of

#: A worker that has not been seen for this long is not counted on, in seconds.
WORKER_SILENCE = 60.0


class Queries:
    """Nothing here writes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def status(self, ref: JobRef) -> dict[str, Any]:
        """Where a job stands (`CONTRACT.md` §4)."""
        return self._store.read(lambda tx: self._one(tx, get_job(tx, ref)))

    def result(self, ref: JobRef) -> bytes | None:
        """The callback's body once the run has ended, byte for byte; before that None."""

        def look(tx: ReadTransaction) -> bytes | None:
            job = get_job(tx, ref)
            outcome = tx.outcome(job.id, job.run) if job.state.final else None
            if job.state.final and (outcome is None or not outcome.body):
                raise NotFound(f"The result of job {job.request_id} was erased on delivery (retain: metadata).")
            return outcome.body if outcome else None

        return self._store.read(look)

    def wait(
        self, ref: JobRef, *, timeout: float, until: Callable[[dict[str, Any]], bool] | None = None, every: float = 0.1
    ) -> dict[str, Any]:
        """
        The status, as soon as `until` holds of it (by default: once the run has ended), or after `timeout` seconds.
        """
        done = until or (lambda status: status["status"] in ("completed", "failed"))
        give_up = time.monotonic() + timeout
        while not done(status := self.status(ref)) and (left := give_up - time.monotonic()) > 0:
            time.sleep(min(every, left))

        return status

    def jobs(self, which: JobFilter) -> Page:
        """A page of jobs, newest first."""

        def look(tx: ReadTransaction) -> Page:
            listed = tx.jobs(replace(which, limit=which.limit + 1))
            shown = listed[: which.limit]
            cursor = shown[-1].id if len(listed) > which.limit else None
            waits = WaitReasons(tx, shown, self._context.prices)
            return Page(jobs=[_status(tx, job, waits) for job in shown], cursor=cursor)

        return self._store.read(look)

    def job_details(self, ref: JobRef) -> dict[str, Any]:
        """Everything that is known of a job: status, request, ledger, deliveries, events. Never its webhook headers."""

        def look(tx: ReadTransaction) -> dict[str, Any]:
            job = get_job(tx, ref)
            request = tx.request(job.id)
            partial = tx.partial(job.id)
            posts = [
                {
                    "at": wire.timestamp(post.at),
                    "url": post.url,
                    "statusCode": post.reply.status,
                    "ms": post.reply.ms,
                    "reply": post.reply.excerpt or post.reply.error or "",
                    "nextAttemptAt": wire.optional_timestamp(post.next_due),
                }
                for post in tx.delivery_attempts(job.id)
            ]
            return {
                **self._one(tx, job),
                "owner": job.owner,
                "run": job.run,
                "possibleDuplicateCharge": job.ambiguous,
                "unacked": _unacked(tx, job),
                "batch": wire.batch_body(batch) if (batch := batch_of(tx, job)) else None,
                "partialResponse": partial.text if partial else None,
                "webhookUrl": request.webhook_url if request else None,
                "failureWebhookUrl": request.failure_webhook_url if request else None,
                "request": _without_bytes(request.request, tx.files(job.id)) if request else None,
                "warnings": [*request.warnings, *model_fallback.warnings(tx, job, request, self._context)]
                if request
                else [],
                "calls": [wire.call_body(call) for call in tx.calls(job.id)],
                "deliveries": posts,
                "events": [wire.event_body(event, request_id=job.request_id) for event in tx.events(job.id)],
            }

        return self._store.read(look)

    def partial(self, ref: JobRef) -> str:
        """The text of the running call, as far as its last checkpoint; the answer, once there is one."""

        def look(tx: ReadTransaction) -> str:
            partial = tx.partial(get_job(tx, ref).id)
            return partial.text if partial else ""

        return self._store.read(look)

    def events_after(
        self, cursor: int | None, *, limit: int = 500, owner: str | None = None
    ) -> tuple[Sequence[dict[str, Any]], int]:
        """Moves after `cursor` (None: the last `limit`) in the words of the wire, and the cursor to go on from."""

        def look(tx: ReadTransaction) -> tuple[Sequence[dict[str, Any]], int]:
            moves, last = tx.events_after(cursor, limit=limit, owner=owner)
            return [_move(seq, request_id, event) for seq, request_id, event in moves], last

        return self._store.read(look)

    def group(self, name: str) -> dict[str, Any]:
        """A group's limits and what of it runs."""

        def look(tx: ReadTransaction) -> dict[str, Any]:
            group = tx.group(name)
            return {
                "group": name,
                "concurrency": group.concurrency,
                "rate": group.rate,
                "paused": group.paused_at is not None,
                "running": tx.running_by_group().get(name, 0),
            }

        return self._store.read(look)

    def overview(self) -> dict[str, Any]:
        """The whole relay on one screen."""

        def look(tx: ReadTransaction) -> dict[str, Any]:
            counts = tx.counts()
            oldest = tx.oldest_waiting()
            return {
                "timestamp": wire.timestamp(tx.now),
                "jobs": {state.value: counts.get(state, 0) for state in State},
                "oldestWaitingSeconds": None if oldest is None else round(max(0.0, tx.now - oldest), 3),
                "paused": [group.name for group in tx.groups() if group.paused_at is not None],
                "groups": _groups(tx),
                "holds": [
                    {"scope": str(hold.scope), "reason": hold.reason, "until": wire.optional_timestamp(hold.until)}
                    for hold in Holds(tx.holds(), tx.now).listed
                ],
                "workers": [
                    {
                        "id": worker.id,
                        "host": worker.host,
                        "pid": worker.pid,
                        "slots": worker.slots,
                        "running": worker.running,
                        "seenAt": wire.timestamp(worker.seen_at),
                        "alive": tx.now - worker.seen_at < WORKER_SILENCE,
                    }
                    for worker in tx.workers()
                ],
                "deliveries": tx.delivery_counts(),
                "unacked": tx.unacked(),
                "batches": tx.batch_counts(),
                "destinations": [
                    wire.destination_body(one, waiting=tx.waiting_for(one.name))
                    for one in tx.destinations()
                    if one.slowed or one.recovering
                ],
            }

        return self._store.read(look)

    def resolve_conversation(self, submission: Submission, owner: str) -> tuple[Submission, Sequence[Exchange]]:
        """What a submission would go on from, if it were kept."""

        def look(tx: ReadTransaction) -> tuple[Submission, Sequence[Exchange]]:
            found = join(tx, submission, owner, self._context)
            return (submission, ()) if found is None else (found.submission, turns_up_to(tx, found.earlier))

        return self._store.read(look)

    def cost(self, *, by: str, since: float | None = None, owner: str | None = None) -> dict[str, Any]:
        """What was spent, by day, key, model, group or mode; `owner` None: by all."""
        return self._store.read(costs(by=by, since=since, owner=owner))

    def readiness_problems(self) -> Sequence[Problem]:
        """Why jobs would be accepted but not run, one sentence each; nothing where all is well."""

        def look(tx: ReadTransaction) -> list[Problem]:
            found = []
            if not any(tx.now - worker.seen_at < WORKER_SILENCE for worker in tx.workers()):
                found.append(Problem(field="worker", problem="has not been seen lately: start claude-relay worker"))
            for hold in Holds(tx.holds(), tx.now).queue_wide:
                word = "is paused" if hold.scope == PAUSE else f"is parked ({hold.reason})"
                found.append(Problem(field="queue", problem=f"{word}: claude-relay resume"))
            return found

        return self._store.read(look)

    def latest_destinations(self, limit: int = 20) -> Sequence[str]:
        """Where the latest callbacks went, as `https://host`, newest first."""
        return self._store.read(lambda tx: tx.latest_destinations(limit))

    def queue_summary(self) -> str:
        """The queue in a few words: how much waits, and whether all of it stands still."""

        def look(tx: ReadTransaction) -> str:
            waiting = f"{tx.waiting()} waiting"
            stopped = [
                f"{'paused' if hold.scope == PAUSE else 'parked'} ({hold.reason})"
                for hold in Holds(tx.holds(), tx.now).queue_wide
            ]
            return ", ".join([waiting, *stopped])

        return self._store.read(look)

    def clock_problem(self) -> str | None:
        """What is wrong with this machine's clock, as far as the store can tell; or None."""

        def look(tx: ReadTransaction) -> str | None:
            newest = tx.jobs(JobFilter(limit=1))
            return clock_check.find_clock_problem(tx.now, newest[0].created_at if newest else None)

        return self._store.read(look)

    def check(self) -> str | None:
        """What is wrong with the store's file, or None. Reads all of it."""
        return self._store.check()

    def shared_value(self, key: str) -> Any:
        """What the worker has remembered for the others."""
        return self._store.read(lambda tx: tx.shared_value(key))

    def _one(self, tx: ReadTransaction, job: Job) -> dict[str, Any]:
        return _status(tx, job, WaitReasons(tx, [job], self._context.prices))


def _unacked(tx: ReadTransaction, job: Job) -> bool:
    """Whether its result was delivered, and not acknowledged though its group's usually are."""
    delivery = tx.delivery(job.id) if job.state.final else None
    arrived = delivery is not None and delivery.run == job.run and delivery.state is DeliveryState.DELIVERED

    return arrived and tx.acked_at(job.id, job.run) is None and tx.acks_expected(job.group)


def _status(tx: ReadTransaction, job: Job, waits: WaitReasons) -> dict[str, Any]:
    delivery = tx.delivery(job.id) if job.state.final else None
    if delivery is not None and delivery.run != job.run:
        delivery = None

    acked = tx.acked_at(job.id, job.run) if job.state.final else None
    there = tx.destination(delivery.destination) if delivery is not None and not delivery.state.final else None

    return wire.status_body(
        job,
        metadata=tx.metadata(job.id),
        waiting_for=waits.reason(job),
        position=waits.position(job),
        delivery=delivery,
        acked=acked,
        destination=there,
    )


def _groups(tx: ReadTransaction) -> list[dict[str, Any]]:
    """Those of which something runs, or that somebody has set."""
    running = tx.running_by_group()
    known = {group.name: group for group in tx.groups()}

    return [
        {
            "group": name,
            "running": running.get(name, 0),
            "concurrency": known[name].concurrency if name in known else None,
            "rate": known[name].rate if name in known else None,
            "paused": name in known and known[name].paused_at is not None,
        }
        for name in sorted({*running, *known})
    ]


def _move(seq: int, request_id: str, event: Event) -> dict[str, Any]:
    return {"cursor": seq, **wire.event_body(event, request_id=request_id)}


def _without_bytes(request: dict[str, Any], fetched: Sequence[FetchedFile]) -> dict[str, Any]:
    """Files by name, type and size, those from an address with the hash of what was there: nobody reads base64."""
    if not request.get("files"):
        return request
    known = {file.number: file for file in fetched}

    return {**request, "files": [_shown(file, known.get(number)) for number, file in enumerate(request["files"])]}


def _shown(file: dict[str, Any], fetched: FetchedFile | None) -> dict[str, Any]:
    shown = {key: value for key, value in file.items() if key != "data"}
    if fetched is not None:
        told = {"mediaType": fetched.media_type, "size": fetched.size, "sha256": fetched.sha256}
        return {**shown, "name": fetched.name, **told, "fetchedAt": wire.timestamp(fetched.at)}
    if "data" in file:
        return {**shown, "size": len(file["data"]) * 3 // 4}

    return shown


def page_limit(limit: int) -> int:
    """Between 1 and 500, or an `InvalidRequest`."""
    if not 1 <= limit <= 500:
        raise InvalidRequest(problems=[Problem(field="limit", problem="must be a whole number from 1 to 500")])

    return limit
