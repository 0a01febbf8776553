"""Every question about jobs, answered in the words of the wire."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..core import calendar, wire
from ..core.change import Event
from ..core.delivery import DeliveryState
from ..core.fetching import KeptFile
from ..core.job import Job, State
from ..core.submission import Exchanged, Submission
from ..errors import InvalidRequest, NotFound, Problem
from ..ports import JobFilter, View
from . import turning
from .conversation import join, turns_up_to
from .costs import costs
from .values import Page, Ref, Tools, found
from .waits import Waits, batch_of

#: A worker that has not been seen for this long is not counted on, in seconds.
WORKER_SILENCE = 60.0


class Reading:
    """Nothing here writes."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store = tools.store

    def status(self, ref: Ref) -> dict[str, Any]:
        """Where a job stands (`CONTRACT.md` §4)."""
        return self._store.read(lambda view: self._one(view, found(view, ref)))

    def result(self, ref: Ref) -> bytes | None:
        """The callback's body once the run has ended, byte for byte; before that None."""

        def look(view: View) -> bytes | None:
            job = found(view, ref)
            outcome = view.outcome(job.id, job.run) if job.state.final else None
            if job.state.final and (outcome is None or not outcome.body):
                raise NotFound(f"The result of job {job.request_id} was erased on delivery (retain: metadata).")
            return outcome.body if outcome else None

        return self._store.read(look)

    def wait(
        self, ref: Ref, *, timeout: float, until: Callable[[dict[str, Any]], bool] | None = None, every: float = 0.1
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

        def look(view: View) -> Page:
            listed = view.jobs(replace(which, limit=which.limit + 1))
            shown = listed[: which.limit]
            cursor = shown[-1].id if len(listed) > which.limit else None
            waits = Waits(view, shown, self._tools.prices)
            return Page(jobs=[_status(view, job, waits) for job in shown], cursor=cursor)

        return self._store.read(look)

    def record(self, ref: Ref) -> dict[str, Any]:
        """Everything that is known of a job: status, request, ledger, deliveries, events. Never its webhook headers."""

        def look(view: View) -> dict[str, Any]:
            job = found(view, ref)
            request = view.request(job.id)
            partial = view.partial(job.id)
            posts = [
                {
                    "at": wire.timestamp(post.at),
                    "url": post.url,
                    "statusCode": post.reply.status,
                    "ms": post.reply.ms,
                    "reply": post.reply.excerpt or post.reply.error or "",
                    "nextAttemptAt": wire.maybe_timestamp(post.next_due),
                }
                for post in view.posts(job.id)
            ]
            return {
                **self._one(view, job),
                "owner": job.owner,
                "run": job.run,
                "possibleDuplicateCharge": job.ambiguous,
                "unacked": _unacked(view, job),
                "batch": wire.batch_body(batch) if (batch := batch_of(view, job)) else None,
                "partialResponse": partial.text if partial else None,
                "webhookUrl": request.webhook_url if request else None,
                "failureWebhookUrl": request.failure_webhook_url if request else None,
                "request": _without_bytes(request.request, view.files(job.id)) if request else None,
                "warnings": [*request.warnings, *turning.warnings(view, job, request, self._tools)] if request else [],
                "calls": [wire.call_body(call) for call in view.calls(job.id)],
                "deliveries": posts,
                "events": [wire.event_body(event, request_id=job.request_id) for event in view.events(job.id)],
            }

        return self._store.read(look)

    def partial(self, ref: Ref) -> str:
        """The text of the running call, as far as its last checkpoint; the answer, once there is one."""

        def look(view: View) -> str:
            partial = view.partial(found(view, ref).id)
            return partial.text if partial else ""

        return self._store.read(look)

    def events_after(
        self, cursor: int | None, *, limit: int = 500, owner: str | None = None
    ) -> tuple[Sequence[dict[str, Any]], int]:
        """Moves after `cursor` (None: the last `limit`) in the words of the wire, and the cursor to go on from."""

        def look(view: View) -> tuple[Sequence[dict[str, Any]], int]:
            moves, last = view.events_after(cursor, limit=limit, owner=owner)
            return [_move(seq, request_id, event) for seq, request_id, event in moves], last

        return self._store.read(look)

    def group(self, name: str) -> dict[str, Any]:
        """A group's limits and what of it runs."""

        def look(view: View) -> dict[str, Any]:
            group = view.group(name)
            return {
                "group": name,
                "concurrency": group.concurrency,
                "rate": group.rate,
                "paused": group.paused_at is not None,
                "running": view.running_by_group().get(name, 0),
            }

        return self._store.read(look)

    def overview(self) -> dict[str, Any]:
        """The whole relay on one screen."""

        def look(view: View) -> dict[str, Any]:
            counts = view.counts()
            oldest = view.oldest_waiting()
            return {
                "timestamp": wire.timestamp(view.now),
                "jobs": {state.value: counts.get(state, 0) for state in State},
                "oldestWaitingSeconds": None if oldest is None else round(max(0.0, view.now - oldest), 3),
                "paused": [group.name for group in view.groups() if group.paused_at is not None],
                "groups": _groups(view),
                "holds": [
                    {"scope": hold.scope, "reason": hold.reason, "until": wire.maybe_timestamp(hold.until)}
                    for hold in view.holds()
                    if hold.until is None or hold.until > view.now or hold.scope == "park"
                ],
                "workers": [
                    {
                        "id": worker.id,
                        "host": worker.host,
                        "pid": worker.pid,
                        "slots": worker.slots,
                        "running": worker.running,
                        "seenAt": wire.timestamp(worker.seen_at),
                        "alive": view.now - worker.seen_at < WORKER_SILENCE,
                    }
                    for worker in view.workers()
                ],
                "deliveries": view.delivery_counts(),
                "unacked": view.unacked(),
                "batches": view.batch_counts(),
                "destinations": [
                    wire.destination_body(one, waiting=view.waiting_for(one.name))
                    for one in view.destinations()
                    if one.slowed or one.recovering
                ],
            }

        return self._store.read(look)

    def joined(self, submission: Submission, owner: str) -> tuple[Submission, Sequence[Exchanged]]:
        """What a submission would go on from, if it were kept."""

        def look(view: View) -> tuple[Submission, Sequence[Exchanged]]:
            found = join(view, submission, owner, self._tools)
            return (submission, ()) if found is None else (found.submission, turns_up_to(view, found.earlier))

        return self._store.read(look)

    def cost(self, *, by: str, since: float | None = None, owner: str | None = None) -> dict[str, Any]:
        """What was spent, by day, key, model, group or mode; `owner` None: by all."""
        return self._store.read(costs(by=by, since=since, owner=owner))

    def unready(self) -> Sequence[Problem]:
        """Why jobs would be accepted but not run, one sentence each; nothing where all is well."""

        def look(view: View) -> list[Problem]:
            found = []
            if not any(view.now - worker.seen_at < WORKER_SILENCE for worker in view.workers()):
                found.append(Problem(field="worker", problem="has not been seen lately: start claude-relay worker"))
            for hold in view.holds():
                if hold.scope in ("pause", "park"):
                    word = "is paused" if hold.scope == "pause" else f"is parked ({hold.reason})"
                    found.append(Problem(field="queue", problem=f"{word}: claude-relay resume"))
            return found

        return self._store.read(look)

    def latest_destinations(self, limit: int = 20) -> Sequence[str]:
        """Where the latest callbacks went, as `https://host`, newest first."""
        return self._store.read(lambda view: view.latest_destinations(limit))

    def standing(self) -> str:
        """The queue in a few words: how much waits, and whether all of it stands still."""

        def look(view: View) -> str:
            waiting = f"{view.waiting()} waiting"
            words = {"pause": "paused", "park": "parked"}
            stopped = [f"{words[hold.scope]} ({hold.reason})" for hold in view.holds() if hold.scope in words]
            return ", ".join([waiting, *stopped])

        return self._store.read(look)

    def clock_fault(self) -> str | None:
        """What is wrong with this machine's clock, as far as the store can tell; or None."""

        def look(view: View) -> str | None:
            newest = view.jobs(JobFilter(limit=1))
            return calendar.fault(view.now, newest[0].created_at if newest else None)

        return self._store.read(look)

    def check(self) -> str | None:
        """What is wrong with the store's file, or None. Reads all of it."""
        return self._store.check()

    def memo(self, key: str) -> Any:
        """What the worker has remembered for the others."""
        return self._store.read(lambda view: view.memo(key))

    def _one(self, view: View, job: Job) -> dict[str, Any]:
        return _status(view, job, Waits(view, [job], self._tools.prices))


def _unacked(view: View, job: Job) -> bool:
    """Whether its result was delivered, and not acknowledged though its group's usually are."""
    delivery = view.delivery(job.id) if job.state.final else None
    arrived = delivery is not None and delivery.run == job.run and delivery.state is DeliveryState.DELIVERED

    return arrived and view.acked(job.id, job.run) is None and view.acks_expected(job.group)


def _status(view: View, job: Job, waits: Waits) -> dict[str, Any]:
    delivery = view.delivery(job.id) if job.state.final else None
    if delivery is not None and delivery.run != job.run:
        delivery = None

    acked = view.acked(job.id, job.run) if job.state.final else None
    there = view.destination(delivery.destination) if delivery is not None and not delivery.state.final else None

    return wire.status_body(
        job,
        metadata=view.metadata(job.id),
        waiting_for=waits.why(job),
        position=waits.place(job),
        delivery=delivery,
        acked=acked,
        destination=there,
    )


def _groups(view: View) -> list[dict[str, Any]]:
    """Those of which something runs, or that somebody has set."""
    running = view.running_by_group()
    known = {group.name: group for group in view.groups()}

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


def _without_bytes(request: dict[str, Any], fetched: Sequence[KeptFile]) -> dict[str, Any]:
    """Files by name, type and size, those from an address with the hash of what was there: nobody reads base64."""
    if not request.get("files"):
        return request
    known = {file.number: file for file in fetched}

    return {**request, "files": [_shown(file, known.get(number)) for number, file in enumerate(request["files"])]}


def _shown(file: dict[str, Any], fetched: KeptFile | None) -> dict[str, Any]:
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
