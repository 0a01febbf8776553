"""What is read: SQL for the questions of `ports.View`. Engines hand in how a statement is run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ...core.deliveries.delivery import Delivery, DeliveryAttempt
from ...core.files.fetched import FetchedFile
from ...core.jobs.change import Call, Outcome
from ...core.jobs.events import Event
from ...core.jobs.failure import PartialResponse
from ...core.jobs.holds import QueueHold
from ...core.jobs.job import UNFINISHED, Job, State
from ...core.jobs.submission import StoredRequest
from ...core.jobs.tombstone import Tombstone
from ...core.keys import ApiKey
from ...core.text.ids import earliest_ulid
from ...ports import Group, JobFilter, WorkerHeartbeat
from . import records
from .acks import AckReads
from .alerts import AlertReads
from .batches import BatchReads
from .conversations import ConversationReads
from .destinations import DestinationReads
from .money import LedgerReads
from .query import fetch_all, fetch_one, placeholders
from .uploads import UploadReads

_UNFINISHED = ", ".join(f"'{state.value}'" for state in UNFINISHED)
_JOB = f"SELECT {records.columns(records.JOB, 'j.')} FROM jobs j"
_REQUEST = f"SELECT {records.columns(records.REQUEST)} FROM requests WHERE job_id = ?"
_CALL = f"SELECT {records.columns(records.CALL)} FROM calls WHERE job_id = ?"
_DELIVERY = f"SELECT {records.columns(records.DELIVERY, 'd.')} FROM deliveries d"
_GROUP = "SELECT name, concurrency, rate, paused_at, next_at FROM groups"
_KEY = f"SELECT {records.columns(records.KEY)} FROM keys"
_FILE = f"SELECT {records.columns(records.FILE)} FROM fetched_files"
_EVENT = "e.job_id, e.subject, e.version, e.at, e.name, e.detail"


class Reads(AckReads, BatchReads, AlertReads, DestinationReads, ConversationReads, UploadReads, LedgerReads):
    """Implements `ports.View` over one connection, at one time."""

    @property
    def now(self) -> float:
        """The time of this look, in seconds since 1970."""
        return self._now

    def job(self, job_id: str) -> Job | None:
        """One job, by its own id."""
        return fetch_one(records.to_job, self._run(f"{_JOB} WHERE j.id = ?", (job_id,)))

    def find(self, request_id: str, owner: str | None) -> Sequence[Job]:
        """The jobs of that requestId: of one owner, or (None) of all."""
        if owner is None:
            return fetch_all(records.to_job, self._run(f"{_JOB} WHERE j.request_id = ?", (request_id,)))
        return fetch_all(
            records.to_job, self._run(f"{_JOB} WHERE j.request_id = ? AND j.owner = ?", (request_id, owner))
        )

    def tombstones(self, request_id: str, owner: str | None) -> Sequence[Tombstone]:
        """What remains of purged jobs of that requestId."""
        sql = """SELECT job_id, owner, request_id, body_hash, state, created_at, finished_at, purged_at
                 FROM tombstones WHERE request_id = ? AND (? IS NULL OR owner = ?)"""
        return fetch_all(records.to_tombstone, self._run(sql, (request_id, owner, owner)))

    def request(self, job_id: str) -> StoredRequest | None:
        """What was asked."""
        return fetch_one(records.to_request, self._run(_REQUEST, (job_id,)))

    def metadata(self, job_id: str) -> Any:
        """What the caller wants echoed; without reading the prompt beside it."""
        return records.load(self._value("SELECT metadata FROM requests WHERE job_id = ?", (job_id,)))

    def outcome(self, job_id: str, run: int) -> Outcome | None:
        """How that run ended."""
        sql = "SELECT job_id, run, at, status, body FROM outcomes WHERE job_id = ? AND run = ?"
        return fetch_one(records.to_outcome, self._run(sql, (job_id, run)))

    def partial(self, job_id: str) -> PartialResponse | None:
        """
        What had come at the last checkpoint. Where that was another request's, only the text: the rest is in the ledger
        already, with the entry that it belongs to.
        """
        sql = """SELECT p.text, CASE WHEN p.number = j.calls THEN p.usage END, p.model,
                        CASE WHEN p.number = j.calls THEN p.upstream_request_id END
                 FROM partials p JOIN jobs j ON j.id = p.job_id WHERE p.job_id = ?"""
        return fetch_one(records.to_partial, self._run(sql, (job_id,)))

    def files(self, job_id: str) -> Sequence[FetchedFile]:
        """The files that were fetched for it; their bytes stay where they are."""
        return fetch_all(records.to_file, self._run(f"{_FILE} WHERE job_id = ? ORDER BY number", (job_id,)))

    def file_data(self, job_id: str, number: int) -> bytes:
        """The bytes of one of them."""
        return bytes(self._value("SELECT data FROM fetched_files WHERE job_id = ? AND number = ?", (job_id, number)))

    def jobs(self, which: JobFilter) -> Sequence[Job]:
        """The newest jobs that fit."""
        where, args = _conditions(which)
        sql = f"{_JOB} {'WHERE ' + ' AND '.join(where) if where else ''} ORDER BY j.id DESC LIMIT ?"
        return fetch_all(records.to_job, self._run(sql, (*args, which.limit)))

    def due(
        self,
        *,
        limit: int,
        skip_groups: Collection[str] = (),
        skip_families: Collection[str] = (),
        skip_owners: Collection[str] = (),
    ) -> Sequence[Job]:
        """What could be claimed now, in the order of claiming."""
        where, args = ["j.state = 'queued' AND j.lane = 'live'", "j.due_at <= ?"], [self._now]
        for column, skipped in (("grp", skip_groups), ("family", skip_families), ("owner", skip_owners)):
            if skipped:
                where.append(f"j.{column} NOT IN ({placeholders(skipped)})")
                args.extend(skipped)  # type: ignore[arg-type]
        sql = f"{_JOB} INDEXED BY jobs_due WHERE {' AND '.join(where)} ORDER BY j.rank, j.id LIMIT ?"
        return fetch_all(records.to_job, self._run(sql, (*args, limit)))

    def fallback_candidates(self, families: Collection[str], *, limit: int) -> Sequence[Job]:
        """Waiting jobs of those families that may turn to another model."""
        where = f"j.state = 'queued' AND j.fallbacks IS NOT NULL AND j.family IN ({placeholders(families)})"
        sql = f"{_JOB} INDEXED BY jobs_fallbacks WHERE {where} AND j.lane = 'live' ORDER BY j.rank LIMIT ?"
        return fetch_all(records.to_job, self._run(sql, (*families, limit)))

    def running(self) -> Sequence[Job]:
        """Every job that a worker holds."""
        return fetch_all(records.to_job, self._run(f"{_JOB} WHERE j.state = 'running'", ()))

    def running_by_group(self) -> dict[str, int]:
        """How many of each group run."""
        return dict(self._run("SELECT grp, count(*) FROM jobs WHERE state = 'running' GROUP BY grp", ()))  # type: ignore[arg-type]

    def past_deadline(
        self,
        *,
        limit: int,
        asked_only: bool = False,
        asked_only_in: Collection[str] = (),
        asked_only_of: Collection[str] = (),
    ) -> Sequence[Job]:
        """Waiting jobs whose deadline has passed; everywhere, in those groups or of those owners only one asked for."""
        where = "j.state = 'queued' AND j.deadline_at <= ?"
        if asked_only:
            where += " AND j.deadline_asked = 1"
        args: list[Any] = [self._now]
        for column, names in () if asked_only else (("grp", asked_only_in), ("owner", asked_only_of)):
            if names:
                where += f" AND (j.deadline_asked = 1 OR j.{column} NOT IN ({placeholders(names)}))"
                args.extend(names)
        sql = f"{_JOB} INDEXED BY jobs_deadline WHERE {where} ORDER BY j.deadline_at LIMIT ?"
        return fetch_all(records.to_job, self._run(sql, (*args, limit)))

    def waiting(self) -> int:
        """How many jobs wait or run."""
        return int(self._value(f"SELECT count(*) FROM jobs WHERE state IN ({_UNFINISHED})", ()) or 0)

    def count_ahead(self, job: Job, after: Job | None = None) -> int:
        """How many will be claimed before it, and not before `after`."""
        sql = """SELECT count(*) FROM jobs INDEXED BY jobs_due
                 WHERE state = 'queued' AND lane = 'live' AND rank >= ? AND rank < ?"""
        return int(self._value(sql, (float("-inf") if after is None else after.rank, job.rank)) or 0)

    def counts(self) -> dict[State, int]:
        """How many jobs stand in each state."""
        found = self._run("SELECT state, count(*) FROM jobs GROUP BY state", ())
        return {State(state): count for state, count in found}

    def oldest_waiting(self) -> float | None:
        """Since when the job has been due that has waited longest."""
        # A lane at a time: the index of each holds all that is asked for.
        sql = """SELECT min(at) FROM (
                     SELECT min(due_at) AS at FROM jobs INDEXED BY jobs_due
                     WHERE state = 'queued' AND lane = 'live' AND due_at <= ?
                     UNION ALL SELECT min(due_at) FROM jobs INDEXED BY jobs_gather
                     WHERE state = 'queued' AND lane = 'batch' AND due_at <= ?) AS lanes"""
        return self._value(sql, (self._now, self._now))

    def cancel_requested(self, worker: str) -> Sequence[str]:
        """Which of that worker's jobs someone wants stopped."""
        sql = "SELECT id FROM jobs WHERE state = 'running' AND lease_worker = ? AND cancel_requested_at IS NOT NULL"
        return [row[0] for row in self._run(sql, (worker,))]

    def call(self, job_id: str, number: int) -> Call | None:
        """One entry of the ledger."""
        return fetch_one(records.to_call, self._run(f"{_CALL} AND number = ?", (job_id, number)))

    def calls(self, job_id: str) -> Sequence[Call]:
        """The job's ledger, oldest first."""
        return fetch_all(records.to_call, self._run(f"{_CALL} ORDER BY number", (job_id,)))

    def delivery(self, job_id: str) -> Delivery | None:
        """The delivery of the job's latest run."""
        sql = f"{_DELIVERY} WHERE d.job_id = ? ORDER BY d.run DESC LIMIT 1"
        return fetch_one(records.to_delivery, self._run(sql, (job_id,)))

    def deliveries(self, job_id: str) -> Sequence[Delivery]:
        """One a run, oldest first."""
        return fetch_all(records.to_delivery, self._run(f"{_DELIVERY} WHERE d.job_id = ? ORDER BY d.run", (job_id,)))

    def delivery_by_id(self, delivery_id: str) -> Delivery | None:
        """One delivery."""
        return fetch_one(records.to_delivery, self._run(f"{_DELIVERY} WHERE d.id = ?", (delivery_id,)))

    def delivery_body(self, delivery: Delivery) -> bytes:
        """The frozen bytes that it sends."""
        own = self._value("SELECT body FROM delivery_bodies WHERE delivery_id = ?", (delivery.id,))
        if own is None:
            sql = "SELECT body FROM outcomes WHERE job_id = ? AND run = ?"
            own = self._value(sql, (delivery.job_id, delivery.run))
        return bytes(own or b"")

    def sending_deliveries(self) -> Sequence[Delivery]:
        """Every delivery that a sender holds."""
        return fetch_all(records.to_delivery, self._run(f"{_DELIVERY} WHERE d.state = 'sending'", ()))

    def delivery_attempts(self, job_id: str) -> Sequence[DeliveryAttempt]:
        """Every POST made for the job, oldest first."""
        sql = """SELECT p.delivery_id, p.number, p.at, p.url, p.status, p.ms, p.reply, p.error, p.next_due
                 FROM deliveries d JOIN posts p ON p.delivery_id = d.id WHERE d.job_id = ? ORDER BY p.at, p.number"""
        return fetch_all(records.to_posted, self._run(sql, (job_id,)))

    def latest_destinations(self, limit: int) -> Sequence[str]:
        """Where the latest deliveries went, newest first; by the last thousand of them."""
        sql = """SELECT destination FROM (SELECT id, destination FROM deliveries ORDER BY id DESC LIMIT 1000) AS latest
                 GROUP BY destination ORDER BY max(id) DESC LIMIT ?"""
        return [row[0] for row in self._run(sql, (limit,))]

    def delivery_counts(self) -> dict[str, int]:
        """How many deliveries stand in each state."""
        known = {"pending": 0, "sending": 0, "delivered": 0, "dead": 0}
        return known | dict(self._run("SELECT state, count(*) FROM deliveries GROUP BY state", ()))  # type: ignore[arg-type]

    def events(self, job_id: str) -> Sequence[Event]:
        """The job's timeline."""
        return fetch_all(
            records.to_event, self._run(f"SELECT {_EVENT} FROM events e WHERE e.job_id = ? ORDER BY e.seq", (job_id,))
        )

    def events_after(
        self, cursor: int | None, *, limit: int, owner: str | None = None
    ) -> tuple[Sequence[tuple[int, str, Event]], int]:
        """
        Moves after `cursor` as (cursor, requestId, event), and the cursor to go on from.

        With None: the last `limit`. One writer makes SQLite's sequence safe to follow; elsewhere ids may be
        taken before they are committed.
        """
        mine, args = ("AND j.owner = ?", [owner]) if owner is not None else ("", [])
        order = "DESC" if cursor is None else "ASC"
        sql = f"""SELECT e.seq, j.request_id, {_EVENT} FROM events e JOIN jobs j ON j.id = e.job_id
                  WHERE e.seq > ? {mine} ORDER BY e.seq {order} LIMIT ?"""
        found = [(row[0], row[1], records.to_event(row[2:])) for row in self._run(sql, (cursor or 0, *args, limit))]
        if cursor is None:
            found.reverse()
            last = int(self._value("SELECT max(seq) FROM events", ()) or 0)
        else:
            last = found[-1][0] if found else cursor
        return found, last

    def group(self, name: str) -> Group:
        """One group; one that nobody has set has no limits."""
        return fetch_one(records.to_group, self._run(f"{_GROUP} WHERE name = ?", (name,))) or Group(name=name)

    def groups(self) -> Sequence[Group]:
        """The groups that someone has set."""
        return fetch_all(records.to_group, self._run(f"{_GROUP} ORDER BY name", ()))

    def holds(self) -> Sequence[QueueHold]:
        """What stands still, and why."""
        return fetch_all(records.to_hold, self._run("SELECT scope, reason, since, until FROM holds ORDER BY scope", ()))

    def workers(self) -> Sequence[WorkerHeartbeat]:
        """The workers that have shown life and not said goodbye."""
        sql = "SELECT id, host, pid, started_at, seen_at, slots, running FROM workers ORDER BY id"
        return fetch_all(records.to_worker, self._run(sql, ()))

    def key(self, key_id: str) -> ApiKey | None:
        """One API key, by the part of it that may be looked up."""
        return fetch_one(records.to_key, self._run(f"{_KEY} WHERE id = ?", (key_id,)))

    def api_keys(self) -> Sequence[ApiKey]:
        """Every key there is or was."""
        return fetch_all(records.to_key, self._run(f"{_KEY} ORDER BY name", ()))

    def shared_value(self, key: str) -> Any:
        """What was remembered under that key."""
        return records.load(self._value("SELECT value FROM memos WHERE key = ?", (key,)))


def _conditions(which: JobFilter) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    args: list[Any] = []

    def add(condition: str, *values: Any) -> None:
        where.append(condition)
        args.extend(values)

    if which.owner is not None:
        add("j.owner = ?", which.owner)
    if which.states:
        add(f"j.state IN ({placeholders(which.states)})", *(state.value for state in which.states))
    if which.group is not None:
        add("j.grp = ?", which.group)
    if which.since is not None:
        add("j.id >= ?", earliest_ulid(which.since))
    if which.before is not None:
        add("j.id < ?", which.before)
    if which.dead:
        add("EXISTS (SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.run = j.run AND d.state = 'dead')")
    if which.unacked:
        # Only where an ack has ever been seen: elsewhere nobody sends any.
        add(
            "(j.id, j.run) IN (SELECT d.job_id, d.run FROM deliveries d INDEXED BY deliveries_unacked"
            " WHERE d.state = 'delivered' AND d.acked_at IS NULL AND d.grp IN (SELECT name FROM ack_groups))"
        )
    if which.host is not None:
        host = which.host.lower()
        add(
            "EXISTS (SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.run = j.run AND (d.destination = ?"
            " OR d.destination IN ('http://' || ?, 'https://' || ?) OR d.destination LIKE '%://' || ? || ':%'))",
            host,
            host,
            host,
            host,
        )
    if which.text:
        like = "%" + which.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        add(
            "(j.request_id LIKE ? ESCAPE '\\'"
            " OR EXISTS (SELECT 1 FROM requests r WHERE r.job_id = j.id AND r.request LIKE ? ESCAPE '\\')"
            " OR EXISTS (SELECT 1 FROM outcomes o WHERE o.job_id = j.id AND CAST(o.body AS TEXT) LIKE ? ESCAPE '\\'))",
            like,
            like,
            like,
        )

    return where, args
