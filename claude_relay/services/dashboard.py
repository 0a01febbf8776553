"""Queries of the dashboard's pages, each bounded in rows, as values rather than wire bodies."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from ..core import group_limits, wire
from ..core.jobs.fairness import count_by
from ..core.jobs.job import Job, State
from ..core.jobs.job_filter import JobFilter
from ..core.lazy_dataclass import dataclass
from ..core.money.runaway import DAYS, Runaway, runaways, suspects
from ..core.money.spend import Span, day_of
from ..core.policy import DAY
from ..errors import NotFound
from ..ports import FinishedJob, Group, ReadTransaction, RunningCall
from .context import Context, get_job
from .holds import paused_destinations
from .transactions import query
from .types import JobRef, Page
from .wait_reasons import WaitReasons

if TYPE_CHECKING:
    from ..core.deliveries.delivery import Delivery
    from ..core.deliveries.destination import Destination
    from ..core.jobs.submission import StoredRequest

#: The latest jobs that figures over time are made of.
HISTORY = 2_000
#: Calls in flight on one page.
_CALLS = 100
#: Names that complete what is typed.
_NAMES = 100
#: Destinations of one page.
_DESTINATIONS = 60


@dataclass(frozen=True, kw_only=True)
class History:
    """The jobs that ended lately; `complete`: all of them since `since`, rather than the newest ones."""

    jobs: Sequence[FinishedJob]
    since: float
    until: float
    complete: bool


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file of a job."""

    name: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class GroupLoad:
    """A group with its limits and its jobs."""

    group: Group
    running: int
    waiting: int
    oldest_at: float | None = None  # when the job was due that has waited for longest

    @property
    def full(self) -> bool:
        """Whether jobs wait for its own limit of calls at once."""
        return self.group.paused_at is None and group_limits.is_full(
            self.group.concurrency, running=self.running, waiting=self.waiting
        )

    def backs_up(self, now: float) -> bool:
        """Whether its own limits let jobs wait for longer than a person expects."""
        return self.group.paused_at is None and group_limits.backs_up(
            self.group.concurrency,
            self.group.rate,
            running=self.running,
            waiting=self.waiting,
            waited=0.0 if self.oldest_at is None else now - self.oldest_at,
        )


@dataclass(frozen=True, kw_only=True)
class DestinationLoad:
    """A destination: its health (None: it answers), its pause, and what waits for it."""

    name: str
    health: Destination | None
    paused_since: float | None
    waiting: int
    due_at: float | None
    dead: int
    url: str | None = field(repr=False)


class DashboardQueries:
    """Queries beyond those of the HTTP API; `owner` None: of all owners."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self._search = context.search

    @query
    def calls_in_flight(self, tx: ReadTransaction, *, owner: str | None = None) -> Sequence[RunningCall]:
        """The calls in flight, the longest running first."""
        return tx.running_calls(limit=_CALLS, owner=owner)

    @query
    def history(self, tx: ReadTransaction, *, seconds: float, owner: str | None = None) -> History:
        """
        The jobs that ended in the last `seconds`: at most the newest ones.

        A busy relay shows a shorter time rather than read a million rows.
        """
        since = tx.now - seconds
        newest = tx.finished_jobs(since=since, limit=HISTORY)
        complete = len(newest) < HISTORY
        jobs = newest if owner is None else tx.finished_jobs(since=since, limit=HISTORY, owner=owner)

        return History(jobs=jobs, since=since if complete else newest[-1].finished_at, until=tx.now, complete=complete)

    @query
    def groups(self, tx: ReadTransaction) -> Sequence[GroupLoad]:
        """Every group with settings, or with running or waiting jobs; the default one always."""
        stored = {group.name: group for group in tx.groups()}
        running, waiting = count_by("group", tx.running_by_flow()), tx.waiting_by_group()
        oldest = tx.oldest_waiting_by_group()

        return [
            GroupLoad(
                group=stored.get(name, Group(name=name)),
                running=running[name],
                waiting=waiting.get(name, 0),
                oldest_at=oldest.get(name),
            )
            for name in sorted({"default", *stored, *running, *waiting})
        ]

    @query
    def destinations(self, tx: ReadTransaction) -> Sequence[DestinationLoad]:
        """The destinations that fail, wait, are paused or were used lately, those with trouble first."""
        failing = {destination.name: destination for destination in tx.destinations()}
        due = {each.destination: each.due_at for each in tx.due_destinations()}
        paused, dead = paused_destinations(tx), tx.dead_by_destination()
        names = dict.fromkeys((*paused, *failing, *dead, *due, *tx.latest_destinations(_DESTINATIONS)))

        return [
            DestinationLoad(
                name=name,
                health=failing.get(name),
                paused_since=paused[name].since if name in paused else None,
                waiting=tx.waiting_for(name) if name in due else 0,
                due_at=due.get(name),
                dead=dead.get(name, 0),
                url=tx.latest_url(name),
            )
            for name in list(names)[:_DESTINATIONS]
        ]

    @query
    def group_names(self, tx: ReadTransaction) -> Sequence[str]:
        """Groups that have settings or running jobs, for completion while typing."""
        return sorted({*(group.name for group in tx.groups()), *count_by("group", tx.running_by_flow())})[:_NAMES]

    @query
    def jobs(self, tx: ReadTransaction, which: JobFilter) -> Page:
        """A page of jobs in a few statements, however many: parts of their status, and whose they are."""
        page, cursor = self._search.find(tx, which)
        waits = WaitReasons(tx, page, self._context.prices)
        ended = [job.id for job in page if job.state.final]
        deliveries, acks = tx.latest_deliveries(ended), tx.acks_of(ended)

        return Page(
            jobs=[
                {
                    "requestId": job.request_id,
                    "owner": job.owner,
                    "group": job.group,
                    "status": wire.STATUS[job.state],
                    "errorType": job.error_type,
                    "error": job.error,
                    "waitingFor": waits.reason(job),
                    "delivery": wire.delivery_status(_of_run(deliveries.get(job.id), job)),
                    "acked": acks.get((job.id, job.run)),
                    "model": job.model,
                    "costUsd": job.cost_usd,
                    "createdAt": job.created_at,
                }
                for job in page
            ],
            cursor=cursor,
        )

    @query
    def matching(self, tx: ReadTransaction, which: JobFilter) -> tuple[Sequence[Job], str | None]:
        """The jobs that match, newest first, and the cursor of the rest, as for a list."""
        return self._search.find(tx, which)

    @query
    def document(self, tx: ReadTransaction, ref: JobRef, number: int) -> Document:
        """A file of a job: as it was sent with the request, or fetched; raises `NotFound` without its bytes."""
        job = get_job(tx, ref)
        request = tx.request(job.id)
        named = (request.request.get("files") or []) if request is not None else []
        file = named[number] if 0 <= number < len(named) else {}
        fetched = next((each for each in tx.files(job.id) if each.number == number), None)
        name = str(file.get("name") or (fetched.name if fetched else None) or f"file-{number}")
        if fetched is not None:
            return Document(name=name, media_type=fetched.media_type, data=tx.file_data(job.id, number))
        if isinstance(file.get("data"), str):
            data = base64.b64decode(file["data"])
            return Document(name=name, media_type=str(file.get("mediaType") or ""), data=data)
        raise NotFound(f"Job {job.request_id} has no bytes of that file here.")

    @query
    def sizes(self, tx: ReadTransaction, ref: JobRef) -> tuple[int, int]:
        """The bytes of a job's request and of its callback, neither of which is read; 0 for none."""
        job = get_job(tx, ref)

        return tx.request_size(job.id), tx.outcome_size(job.id, job.run) if job.state.final else 0

    @query
    def request(self, tx: ReadTransaction, ref: JobRef) -> tuple[Job, StoredRequest]:
        """The complete request of a job, files included; never its webhook headers."""
        job = get_job(tx, ref)
        request = tx.request(job.id)
        if request is None or not request.request:
            raise NotFound(f"The request of job {job.request_id} was erased (retain: metadata).")

        return job, request

    @query
    def counts(self, tx: ReadTransaction, *, owner: str) -> dict[State, int]:
        """The number of jobs of one owner in each state."""
        return dict.fromkeys(State, 0) | tx.counts(owner)

    @query
    def runaways(self, tx: ReadTransaction) -> Sequence[Runaway]:
        """The keys without a budget that spend more today than in the week before, which is read for suspects only."""
        today = {owner: usd for owner, usd in tx.spent(day_of(tx.now)).items() if usd}
        budgeted = {key.name for key in tx.api_keys() if key.daily_budget_usd is not None or key.revoked_at is not None}
        if not suspects(today, budgeted=budgeted):
            return ()
        days = Span.between(tx.now - DAYS * DAY, tx.now - DAY)
        week = {row.name: row.usd or 0.0 for row in tx.costs(by="key", days=days, which=JobFilter())}

        return runaways(today, week, budgeted=budgeted)

    @query
    def held(self, tx: ReadTransaction) -> int:
        """The number of jobs that wait for a person after an interrupted call, counted up to a thousand."""
        return tx.held_jobs(limit=1000)


def _of_run(delivery: Delivery | None, job: Job) -> Delivery | None:
    """The delivery, if it belongs to the present run of its job."""
    return delivery if delivery is not None and delivery.run == job.run else None
