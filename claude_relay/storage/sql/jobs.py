"""Jobs: claiming, deadlines and transitions. An UPDATE that moves a job names the version it expects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.digests import digest
from ...core.jobs.fairness import Flow, WaitingFlow
from ...core.jobs.job import Job, State
from ...core.retention import DeadlineExtension
from ...errors import Conflict, Damaged
from ...ports import Ahead, FinishedJob, JobFilter, RunningCall
from . import records
from .batch_jobs import STARTABLE, BatchJobReads
from .conversations import ConversationWrites
from .deliveries import DeliveryWrites
from .job_filter import among, newest, window
from .query import Row, Run, placeholders
from .tallies import of_job

if TYPE_CHECKING:
    from ...core.jobs.change import Change, SentMark
    from ...core.jobs.failure import PartialResponse
    from ...core.jobs.submission import StoredRequest
    from ..header_encryption import HeaderCipher
    from .insert_buffer import InsertBuffer

_JOB = f"SELECT {records.columns(records.JOB, 'j.')} FROM jobs j"
# Steps from one flow to the next in the index, so that thousands of jobs cost one step. A rank is never later than the
# due time: the jobs of later days are not looked at.
_WAITING_FLOWS = """
WITH RECURSIVE waiting (flow) AS (
    SELECT min(flow) FROM jobs /* index: jobs_due */ WHERE state = 'queued' AND lane = 'live'
    UNION ALL
    SELECT (SELECT min(flow) FROM jobs /* index: jobs_due */
            WHERE state = 'queued' AND lane = 'live' AND flow > waiting.flow)
    FROM waiting WHERE waiting.flow IS NOT NULL
)
SELECT flow, (SELECT min(rank) FROM jobs /* index: jobs_due */
              WHERE state = 'queued' AND lane = 'live' AND flow = waiting.flow AND rank <= ? AND due_at <= ?), NULL
FROM waiting WHERE flow IS NOT NULL
UNION ALL SELECT name, NULL, tag FROM shares WHERE tag >= coalesce((SELECT tag FROM shares WHERE name = ''), 0)"""
_FLOWS_OF_SHARE = """
WITH RECURSIVE waiting (flow) AS (
    SELECT min(flow) FROM jobs /* index: jobs_due */
    WHERE state = 'queued' AND lane = 'live' AND flow >= ? AND flow < ?
    UNION ALL
    SELECT (SELECT min(flow) FROM jobs /* index: jobs_due */
            WHERE state = 'queued' AND lane = 'live' AND flow > waiting.flow AND flow >= ? AND flow < ?)
    FROM waiting WHERE waiting.flow IS NOT NULL
)
SELECT flow FROM waiting WHERE flow IS NOT NULL"""
#: Rebuilds the indexes of SQLite, which changes no row that an index has under another value.
_REINDEX = "SELECT 1 /* reindex: jobs */"
#: Damaged rows at the head of a flow that are passed over.
_SPARE = 100
_AFTER_SLASH = chr(ord("/") + 1)
_DUE = f"""SELECT * FROM (
    {_JOB} /* index: jobs_due */ WHERE j.state = 'queued' AND j.lane = 'live' AND j.flow = ?
        AND j.rank <= ? AND j.due_at <= ? ORDER BY j.rank, j.id LIMIT ?
) AS flow"""
_ADD_CALL = records.insert("calls", records.CALL)
_KEY_OF_CALL = 2  # columns
_SAVE_CALL = f"""
UPDATE calls SET {", ".join(f"{name} = ?" for name in records.CALL[_KEY_OF_CALL:])} WHERE job_id = ? AND number = ?"""
_PUT_PARTIAL = """
INSERT INTO partials (job_id, number, text, usage, model, upstream_request_id, digest) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (job_id) DO UPDATE SET number = excluded.number, text = excluded.text, usage = excluded.usage,
    model = excluded.model, upstream_request_id = excluded.upstream_request_id, digest = excluded.digest"""
_MARK_SENT = """
UPDATE jobs SET times = times + 1 - sent, sent = 1 WHERE id = ? AND lease_token = ? AND calls = ? RETURNING 1"""
_CHECKPOINT = """
UPDATE calls SET usage = ?, cost_usd = ?, text_length = ?, first_byte_at = coalesce(first_byte_at, ?),
    upstream_request_id = coalesce(?, upstream_request_id) WHERE job_id = ? AND number = ?"""
_RUNNING_CALLS = """
SELECT j.request_id, j.owner, j.grp, c.model, c.worker, c.started_at, c.first_byte_at, c.text_length,
       j.cancel_requested_at IS NOT NULL, j.id
FROM jobs j /* index: jobs_running */ JOIN calls c ON c.job_id = j.id AND c.number = j.calls
WHERE j.state = 'running' AND (? IS NULL OR j.owner = ?) ORDER BY c.started_at, j.id LIMIT ?"""
# The newest ones first, and of those the owner's, so that the work is bounded for a small owner, too.
_FINISHED = """
SELECT finished_at, run_started_at, state, cost_usd FROM (
    SELECT finished_at, run_started_at, state, cost_usd, owner FROM jobs /* index: jobs_finished */
    WHERE finished_at IS NOT NULL AND finished_at >= ? ORDER BY finished_at DESC LIMIT ?
) AS newest WHERE ? IS NULL OR owner = ?"""
# `core.retention.DeadlineExtension.seconds_for`, for all waiting jobs at once.
_EXTEND_DEADLINES = """
UPDATE jobs SET deadline_at = deadline_at
    + CASE WHEN run_started_at > ? THEN 0 WHEN run_started_at > ? THEN ? - run_started_at ELSE ? END,
    times = times + CASE WHEN deadline_at IS NULL OR run_started_at > ? THEN 0
                         WHEN run_started_at > ? THEN ? - run_started_at ELSE ? END
WHERE state = 'queued' AND deadline_asked = 0"""


class JobReads(BatchJobReads):
    """Implements `ports.store.JobReads`."""

    def job(self, job_id: str) -> Job | None:
        """A job by its internal id."""
        return self._fetch_first(records.to_job, f"{_JOB} WHERE j.id = ?", (job_id,))

    def intact_job(self, job_id: str) -> Job | None:
        """A job by its internal id, unless its row is damaged."""
        return self._fetch_first_intact(records.to_job, f"{_JOB} WHERE j.id = ?", (job_id,))

    def find(self, request_id: str, owner: str | None) -> Sequence[Job]:
        """The jobs with that requestId, of one owner or (None) of all."""
        sql, args = f"{_JOB} WHERE j.request_id = ?", [request_id]
        if owner is not None:
            sql, args = f"{sql} AND j.owner = ?", [request_id, owner]
        jobs = self._fetch_all(records.to_job, sql, args)
        if any(job.request_id != request_id or owner not in (None, job.owner) for job in jobs):
            raise Damaged(f"the row of job {request_id}")  # its index has what was written
        return jobs

    def jobs(self, job_filter: JobFilter) -> Sequence[Job]:
        """The newest jobs that match the filter."""
        ids, args = newest(job_filter)
        return self._fetch_intact(records.to_job, f"{_JOB} WHERE j.id IN ({ids}) ORDER BY j.id DESC", args)

    def job_window(self, job_filter: JobFilter, rows: int) -> Sequence[tuple[str, bool]]:
        """The newest `rows` jobs by index, as (id, whether the job matches the complete filter)."""
        sql, args = window(job_filter, rows)
        return [(job_id, bool(matches)) for job_id, matches in self._run(sql, args)]

    def jobs_among(self, job_filter: JobFilter, job_ids: Sequence[str]) -> Sequence[str]:
        """Those of the jobs that match the filter, apart from its text; the newest one first."""
        sql, args = among(job_filter, job_ids)
        return [row[0] for row in self._run(sql, args)] if job_ids else []

    def waiting_flows(self) -> tuple[Sequence[WaitingFlow], dict[str, float]]:
        """The flows with jobs that can be claimed now, and the tags of the shares that are ahead."""
        rows = self._run(_WAITING_FLOWS, (self._now, self._now))
        flows = self._intact(_to_waiting_flow, [row for row in rows if row[1] is not None])
        return flows, {row[0]: row[2] for row in rows if row[2] is not None}

    def due(self, limits: Mapping[Flow, int]) -> Sequence[Job]:
        """The first jobs of each of those flows that can be claimed now, up to its limit."""
        sql = " UNION ALL ".join([_DUE] * len(limits))
        args = [value for flow, limit in limits.items() for value in (str(flow), self._now, self._now, limit)]
        try:
            return self._fetch_intact(records.to_job, sql, args)
        except Damaged:  # a row that cannot be read at all: leave it out
            return [job for flow, limit in limits.items() for job in self._due_one_by_one(flow, limit)]

    def fallback_candidates(self, families: Collection[str], *, limit: int) -> Sequence[Job]:
        """Waiting jobs of those families that may switch to another model."""
        where = f"j.state = 'queued' AND j.fallbacks IS NOT NULL AND j.family IN ({placeholders(families)})"
        sql = f"{_JOB} /* index: jobs_fallbacks */ WHERE {where} AND j.lane = 'live' ORDER BY j.rank LIMIT ?"
        return self._fetch_intact(records.to_job, sql, (*families, limit))

    def past_deadline(
        self,
        *,
        limit: int,
        asked_only: bool = False,
        asked_only_in: Collection[str] = (),
        asked_only_of: Collection[str] = (),
    ) -> Sequence[Job]:
        """
        Waiting jobs past their deadline.

        With `asked_only` only past one that was asked for; also in the groups `asked_only_in` and of the owners
        `asked_only_of`.
        """
        where = f"j.state = 'queued' AND j.deadline_at <= ?{STARTABLE}"
        if asked_only:
            where += " AND j.deadline_asked = 1"
        args: list[Any] = [self._now]
        for column, names in () if asked_only else (("grp", asked_only_in), ("owner", asked_only_of)):
            if names:
                where += f" AND (j.deadline_asked = 1 OR j.{column} NOT IN ({placeholders(names)}))"
                args.extend(names)
        sql = f"{_JOB} /* index: jobs_deadline */ WHERE {where} ORDER BY j.deadline_at LIMIT ?"
        return self._fetch_intact(records.to_job, sql, (*args, limit))

    def running(self) -> Sequence[Job]:
        """Jobs that are leased to a worker."""
        return self._fetch_intact(records.to_job, f"{_JOB} WHERE j.state = 'running'")

    def running_by_flow(self) -> dict[Flow, int]:
        """The number of running jobs of each flow."""
        sql = "SELECT flow, count(*) FROM jobs WHERE state = 'running' GROUP BY flow"
        return dict(self._fetch_intact(lambda row: (Flow.parse(row[0]), row[1]), sql))

    def running_calls(self, *, limit: int, owner: str | None = None) -> Sequence[RunningCall]:
        """The calls in flight, the longest running first, of one owner or (None) of all."""
        return self._fetch_all(_to_running_call, _RUNNING_CALLS, (owner, owner, limit))

    def held_jobs(self, *, limit: int) -> int:
        """The number of jobs that wait for a retry by a user, counted up to `limit`."""
        sql = "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE state = 'held' AND state <> 'running' LIMIT ?) AS held"
        return self._count(sql, (limit,))

    def finished_jobs(self, *, since: float, limit: int, owner: str | None = None) -> Sequence[FinishedJob]:
        """The latest jobs that ended, newest first, of one owner or (None) of all."""
        return self._fetch_all(_to_finished_job, _FINISHED, (since, limit, owner, owner))

    def running_by_worker(self) -> dict[str, int]:
        """The number of running jobs that each worker has leased."""
        sql = "SELECT lease_worker, count(*) FROM jobs WHERE state = 'running' GROUP BY lease_worker"
        return self._fetch_pairs(sql)

    def cancel_requested(self, worker: str) -> Sequence[str]:
        """Ids of that worker's jobs that are to be cancelled."""
        sql = "SELECT id FROM jobs WHERE state = 'running' AND lease_worker = ? AND cancel_requested_at IS NOT NULL"
        return [row[0] for row in self._run(sql, (worker,))]

    def _due_one_by_one(self, flow: Flow, limit: int) -> Iterator[Job]:
        sql = """SELECT id FROM jobs /* index: jobs_due */ WHERE state = 'queued' AND lane = 'live' AND flow = ?
                 AND rank <= ? AND due_at <= ? ORDER BY rank, id LIMIT ?"""
        for (job_id,) in self._run(sql, (str(flow), self._now, self._now, limit + _SPARE)):
            try:
                job = self.job(job_id)
            except Damaged:
                continue
            if job is not None and limit > 0:
                limit -= 1
                yield job

    def flows_of(self, share: str) -> Sequence[str]:
        """The flows of that share with waiting jobs, due or not."""
        return [row[0] for row in self._run(_FLOWS_OF_SHARE, (f"{share}/", share + _AFTER_SLASH) * 2)]

    def count_ahead(self, job: Job, flows: Sequence[str], after: Job | None = None, *, limit: int) -> int:
        """The number of jobs in those flows that are claimed before this one, but not before `after`, up to `limit`."""
        sql = f"""SELECT count(*) FROM (
                      SELECT 1 FROM jobs /* index: jobs_due */
                      WHERE state = 'queued' AND lane = 'live' AND flow IN ({placeholders(flows)})
                        AND (rank, id) >= (?, ?) AND (rank, id) < (?, ?) LIMIT ?) AS ahead"""
        begin = (float("-inf"), "") if after is None else (after.rank, after.id)
        return self._count(sql, (*flows, *begin, job.rank, job.id, limit))


class JobWrites(DeliveryWrites, ConversationWrites):
    """Implements `ports.store.JobWrites`. New jobs are buffered, and several transactions may share the buffer."""

    def __init__(
        self, run: Run, now: float, cipher: HeaderCipher, new_jobs: InsertBuffer, prefetch: Callable[[Ahead], None]
    ) -> None:
        super().__init__(run, now, cipher)
        self._new_jobs = new_jobs
        self._changes = new_jobs.changes
        self._spend = new_jobs.spend
        self._events = new_jobs.events
        self._prefetch = prefetch

    def prefetch(self, ahead: Ahead) -> None:
        """Announce look-ups that follow: a distant server answers them in one trip. Never changes a result."""
        self._prefetch(ahead)

    def add(self, change: Change, request: StoredRequest) -> None:
        """Add a new job with its request; written with the next statement or at the commit."""
        event = change.event
        self._moved(None, of_job(change.job))
        detail = records.dump(event.detail or None)
        self._new_jobs.add(
            records.job_values(change.job),
            records.request_values(change.job.id, request, self._encrypt(change.job, request)),
            (event.job_id, event.subject, event.version, event.at, event.name.value, detail),
        )

    def save(self, change: Change) -> None:
        """
        Save a job's next version and all that belongs to the change.

        Raises `Conflict` if the row has changed since the change was decided on.
        """
        job = change.job
        sql, values = records.job_update(change.previous, job)
        if not self._run(sql, (*values, job.id, change.expects)):
            raise Conflict(f"job {job.request_id} was changed at the same time; try again")
        if change.previous is not None:
            self._moved(of_job(change.previous), of_job(job))
        if change.previous is not None and job.run > change.previous.run:
            # That of a held run: a new run begins with nothing.
            self._run("DELETE FROM partials WHERE job_id = ?", (job.id,))
        self._save_parts(change)

    def rewrite(self, job: Job) -> None:
        """Replace every column of a damaged row, which indexes of SQLite may have under its former values."""
        self._run(_REINDEX, ())
        names = [name for name in records.JOB if name != "id"]
        values = [value for name, value in zip(records.JOB, records.job_values(job), strict=True) if name != "id"]
        self._run(f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?", (*values, job.id))

    def mark_sent(self, mark: SentMark) -> bool:
        """Save the mark, for the open ledger entry too. False: the lease was lost, nothing may be sent."""
        return bool(self._run(_MARK_SENT, (mark.job_id, mark.token, mark.call_number)))

    def checkpoint(self, job: Job, number: int, partial: PartialResponse) -> None:
        """Store what a stream has received so far: the text to read, the usage in the ledger."""
        usage = records.dump(partial.usage)
        parts = (job.id, number, partial.text, usage, partial.model, partial.upstream_request_id)
        self._run(_PUT_PARTIAL, (*parts, digest(*parts)))
        progress = (usage, partial.cost_usd, len(partial.text), partial.first_byte_at, partial.upstream_request_id)
        self._run(_CHECKPOINT, (*progress, job.id, number))

    def renew_leases(self, worker: str, job_ids: Collection[str], expires_at: float) -> Sequence[tuple[str, str]]:
        """Extend a worker's leases on those jobs; returns those it still has, as (job, token)."""
        sql = f"""UPDATE jobs SET lease_expires_at = ? WHERE state = 'running' AND lease_worker = ?
                  AND id IN ({placeholders(job_ids)}) RETURNING id, lease_token"""
        return [(row[0], row[1]) for row in self._run(sql, (expires_at, worker, *job_ids))]

    def postpone_deadlines(
        self,
        *,
        since: float,
        until: float,
        group: str | None = None,
        owner: str | None = None,
        besides: Collection[str] = (),
    ) -> None:
        """
        Give waiting jobs back the time between `since` and `until`, in which they could not run.

        Those of one group, of one owner, or of all groups but some. Deadlines that were asked for stay.
        """
        extension = DeadlineExtension(since=since, until=until)
        where, args = "", list(besides)
        if group is not None:
            where, args = " AND grp = ?", [group]
        elif owner is not None:
            where, args = " AND owner = ?", [owner]
        elif besides:
            where = f" AND grp NOT IN ({placeholders(besides)})"
        self._run(_EXTEND_DEADLINES + where, (*(until, since, until, extension.seconds) * 2, *args))

    def _encrypt(self, job: Job, request: StoredRequest) -> str | None:
        return self._cipher.encrypt(request.webhook_headers, owner=job.owner, row=job.id)

    def _save_parts(self, change: Change) -> None:
        job_id = change.job.id
        self._add_event(change.event)
        opened = 0 if change.previous is None else change.previous.calls
        for call in (change.call, change.next_call):
            if call is not None and call.number > opened:
                self._run(_ADD_CALL, records.call_values(call))
            elif call is not None:
                row = records.call_values(call)
                self._run(_SAVE_CALL, (*row[_KEY_OF_CALL:], *row[:_KEY_OF_CALL]))
        if (outcome := change.outcome) is not None:
            sql = records.INSERT_OUTCOME
            sealed = digest(job_id, outcome.run, outcome.body)
            self._run(sql, (job_id, outcome.run, outcome.at, outcome.status, sealed, outcome.body))
            # Only a failed attempt leaves an answer to repair: most jobs have none, and every statement costs.
            for table in ("partials", "repairs") if change.job.attempt > 1 else ("partials",):
                self._run(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))
            if outcome.blocks:
                self.save_blocks(job_id, outcome.run, outcome.blocks)
        if change.delivery is not None:
            self.add_delivery(change.delivery)


def _to_running_call(row: Row) -> RunningCall:
    return RunningCall(
        request_id=row[0],
        owner=row[1],
        group=row[2],
        model=row[3],
        worker=row[4],
        started_at=row[5],
        first_byte_at=row[6],
        text_length=row[7],
        cancel_requested=bool(row[8]),
        job_id=row[9],
    )


def _to_waiting_flow(row: Row) -> WaitingFlow:
    return WaitingFlow(flow=Flow.parse(row[0]), rank=float(row[1]))


def _to_finished_job(row: Row) -> FinishedJob:
    return FinishedJob(finished_at=row[0], started_at=row[1], state=State(row[2]), cost_usd=row[3])
