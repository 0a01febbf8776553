"""What is written: SQL for the verbs of `ports.Unit`. An UPDATE that moves something names the version it expects."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ...core.deliveries.delivery import Delivery
from ...core.deliveries.transitions import DeliveryChange
from ...core.files.fetched import FetchedFile
from ...core.jobs.change import Change, SentMark
from ...core.jobs.events import Event
from ...core.jobs.failure import PartialResponse
from ...core.jobs.holds import HoldScope, QueueHold
from ...core.jobs.job import Job
from ...core.jobs.submission import StoredRequest
from ...core.keys import ApiKey
from ...errors import Conflict
from ...ports import Group, WorkerHeartbeat
from ..header_encryption import HeaderCipher
from . import clock_step, records
from .alerts import AlertWrites
from .batches import BatchWrites
from .conversations import ConversationWrites
from .destinations import DestinationWrites
from .insert_buffer import InsertBuffer
from .money import LedgerWrites
from .query import Run, placeholders
from .reads import Reads
from .uploads import UploadWrites

_ADD_POST = records.insert("posts", "delivery_id number at url status ms reply error next_due".split())
_ADD_DELIVERY = records.insert("deliveries", records.DELIVERY)
_ADD_FILE = records.insert("fetched_files", ["job_id", *records.FILE, "data"])
_SAVE_DELIVERY = records.update("deliveries", records.DELIVERY)
_PUT_CALL = records.insert("calls", records.CALL) + (
    " ON CONFLICT (job_id, number) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in records.CALL if name not in ("job_id", "number"))
)
_PUT_PARTIAL = """
INSERT INTO partials (job_id, number, text, usage, model, upstream_request_id) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (job_id) DO UPDATE SET number = excluded.number, text = excluded.text, usage = excluded.usage,
    model = excluded.model, upstream_request_id = excluded.upstream_request_id"""
_PURGEABLE = """
SELECT j.id FROM jobs j LEFT JOIN deliveries d ON d.job_id = j.id AND d.run = j.run
WHERE j.finished_at IS NOT NULL
  AND coalesce(d.finished_at, j.finished_at)
      <= CASE WHEN j.state = 'completed' AND coalesce(d.state, '') <> 'dead' THEN ? ELSE ? END
  AND j.finished_at <= ?
  AND NOT EXISTS (SELECT 1 FROM deliveries p WHERE p.job_id = j.id AND p.state IN ('pending', 'sending'))
  AND NOT EXISTS (SELECT 1 FROM continuations c WHERE c.earlier_id = j.id)
  AND NOT EXISTS (SELECT 1 FROM batch_items i WHERE i.job_id = j.id AND i.done = 0)
ORDER BY j.finished_at LIMIT ?"""
_TOMBSTONE = """
INSERT INTO tombstones (request_id, owner, job_id, body_hash, state, created_at, finished_at, purged_at)
SELECT request_id, owner, id, body_hash, state, created_at, finished_at, ? FROM jobs WHERE id = ?
ON CONFLICT (request_id, owner) DO UPDATE SET job_id = excluded.job_id, body_hash = excluded.body_hash,
    state = excluded.state, created_at = excluded.created_at, finished_at = excluded.finished_at,
    purged_at = excluded.purged_at"""

# What a job's large columns hold; told by the rows' heads, without reading the columns.
_SIZE = """
SELECT coalesce((SELECT octet_length(request) FROM requests WHERE job_id = ?), 0)
     + coalesce((SELECT sum(octet_length(body)) FROM outcomes WHERE job_id = ?), 0)
     + coalesce((SELECT sum(octet_length(blocks)) FROM answers WHERE job_id = ?), 0)
     + coalesce((SELECT sum(octet_length(data)) FROM fetched_files WHERE job_id = ?), 0)"""

_OF_A_JOB = (
    "continuations",
    "answers",
    "repairs",
    "deliveries",
    "events",
    "acks",
    "partials",
    "fetched_files",
    "batch_items",
    "calls",
    "outcomes",
    "requests",
)


class Writes(BatchWrites, Reads, ConversationWrites, UploadWrites, LedgerWrites, DestinationWrites, AlertWrites):
    """Implements `ports.Unit` over one open transaction, which several may share with their `additions`."""

    def __init__(self, run: Run, now: float, seal: HeaderCipher, additions: InsertBuffer) -> None:
        super().__init__(run, now, seal)
        self._additions = additions

    def add(self, change: Change, request: StoredRequest) -> None:
        """A new job, with what was asked; written with the next statement, or at the end."""
        event = change.event
        detail = records.dump(event.detail or None)
        row = (event.job_id, event.subject, event.version, event.at, event.name.value, detail)
        sealed = self._seal.encrypt(request.webhook_headers)
        self._additions.add(records.job_values(change.job), records.request_values(change.job.id, request, sealed), row)

    def save(self, change: Change) -> None:
        """
        A job's next version and all that goes with it.

        Raises `Conflict` when the row has moved since the change was decided on.
        """
        job = change.job
        sql, values = records.job_update(change.previous, job)
        if not self._run(sql, (*values, job.id, change.expects)):
            raise Conflict(f"job {job.request_id} moved at the same moment; look again")
        if change.previous is not None and job.run > change.previous.run:
            self._run("DELETE FROM partials WHERE job_id = ?", (job.id,))  # a held run's: a new one begins with nothing
        self._append(change)

    def mark_sent(self, mark: SentMark) -> bool:
        """Save the mark on the job and its ledger entry. False: the lease was lost, nothing may be sent."""
        sql = "UPDATE jobs SET sent = 1 WHERE id = ? AND lease_token = ? AND calls = ? RETURNING 1"
        if not self._run(sql, (mark.job_id, mark.token, mark.call_number)):
            return False
        self._run("UPDATE calls SET sent = 1 WHERE job_id = ? AND number = ?", (mark.job_id, mark.call_number))
        return True

    def checkpoint(self, job: Job, number: int, partial: PartialResponse) -> None:
        """Keep what a stream has brought so far, in the ledger and to read."""
        self._run(
            _PUT_PARTIAL,
            (job.id, number, partial.text, records.dump(partial.usage), partial.model, partial.upstream_request_id),
        )
        sql = """UPDATE calls SET usage = ?, cost_usd = ?, text_length = ?, first_byte_at = coalesce(first_byte_at, ?),
                     upstream_request_id = coalesce(?, upstream_request_id) WHERE job_id = ? AND number = ?"""
        came = (records.dump(partial.usage), partial.cost_usd, len(partial.text), partial.first_byte_at)
        self._run(sql, (*came, partial.upstream_request_id, job.id, number))

    def renew_leases(self, worker: str, job_ids: Collection[str], expires_at: float) -> Sequence[tuple[str, str]]:
        """Extend that worker's leases on those jobs; answers which it has, as (job, token)."""
        sql = f"""UPDATE jobs SET lease_expires_at = ? WHERE state = 'running' AND lease_worker = ?
                  AND id IN ({placeholders(job_ids)}) RETURNING id, lease_token"""
        return [(row[0], row[1]) for row in self._run(sql, (expires_at, worker, *job_ids))]

    def save_request(self, request: StoredRequest) -> None:
        """Replace what a job asks for."""
        self._run("UPDATE requests SET request = ? WHERE job_id = ?", (records.dump(request.request), request.job_id))

    def add_file(self, job_id: str, file: FetchedFile, data: bytes | bytearray, event: Event) -> None:
        """Keep a file that was fetched."""
        told = (job_id, *(getattr(file, name) for name in records.FILE), data)
        self._run(_ADD_FILE, told)
        self._event(event)

    def add_delivery(self, delivery: Delivery) -> None:
        """Open a delivery."""
        self._run(_ADD_DELIVERY, records.delivery_values(delivery))
        if delivery.body is not None:
            sql = "INSERT INTO delivery_bodies (delivery_id, body) VALUES (?, ?)"
            self._run(sql, (delivery.id, delivery.body))

    def save_delivery(self, change: DeliveryChange) -> None:
        """A delivery's next version, with the POST that led to it. Raises `Conflict` when it has moved since."""
        delivery = change.delivery
        if not self._run(_SAVE_DELIVERY, (*records.delivery_values(delivery), delivery.id, change.expects)):
            raise Conflict("the delivery moved at the same moment; look again")
        self._event(change.event)
        if (attempt := change.attempt) is not None:
            reply = attempt.reply
            values = (attempt.at, attempt.url, reply.status, reply.ms, reply.excerpt, reply.error, attempt.next_due)
            self._run(_ADD_POST, (attempt.delivery_id, attempt.number, *values))

    def ack(self, job: Job, run: int, event: Event) -> None:
        """That run's result was applied, and its group is one where such is said."""
        self._run("INSERT INTO acks (job_id, run, at) VALUES (?, ?, ?)", (job.id, run, event.at))
        self._run("UPDATE deliveries SET acked_at = ? WHERE job_id = ? AND run = ?", (event.at, job.id, run))
        self._run("INSERT INTO ack_groups (name, since) VALUES (?, ?) ON CONFLICT DO NOTHING", (job.group, event.at))
        self._event(event)

    def renew_deliveries(self, tokens: Sequence[str], expires_at: float) -> None:
        """Extend those leases."""
        sql = f"""UPDATE deliveries SET lease_expires_at = ?
                  WHERE state = 'sending' AND lease_token IN ({placeholders(tokens)})"""
        self._run(sql, (expires_at, *tokens))

    def save_group(self, group: Group) -> None:
        """Set a group."""
        sql = """INSERT INTO groups (name, concurrency, rate, paused_at, next_at) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency, rate = excluded.rate,
                     paused_at = excluded.paused_at, next_at = excluded.next_at"""
        self._run(sql, (group.name, group.concurrency, group.rate, group.paused_at, group.next_at))

    def save_hold(self, hold: QueueHold) -> None:
        """Let a part of the queue stand still."""
        sql = """INSERT INTO holds (scope, reason, since, until) VALUES (?, ?, ?, ?)
                 ON CONFLICT (scope) DO UPDATE SET reason = excluded.reason, until = excluded.until"""
        self._run(sql, (str(hold.scope), hold.reason, hold.since, hold.until))

    def delete_hold(self, scope: HoldScope) -> QueueHold | None:
        """Let it go on; answers what held it."""
        sql = "DELETE FROM holds WHERE scope = ? RETURNING scope, reason, since, until"
        found = self._run(sql, (str(scope),))
        return records.to_hold(found[0]) if found else None

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
        Give waiting jobs the time back that they could not use from `since` to `until`.

        Those of one group, of one owner, or of all but some groups. Deadlines that were asked for stand.
        """
        where, args = "", list(besides)
        if group is not None:
            where, args = " AND grp = ?", [group]
        elif owner is not None:
            where, args = " AND owner = ?", [owner]
        elif besides:
            where = f" AND grp NOT IN ({placeholders(besides)})"
        sql = f"""UPDATE jobs SET deadline_at = deadline_at
                      + CASE WHEN run_started_at > ? THEN 0 WHEN run_started_at > ? THEN ? - run_started_at ELSE ? END
                  WHERE state = 'queued' AND deadline_asked = 0{where}"""
        self._run(sql, (until, since, until, max(0.0, until - since), *args))

    def shift_times(self, seconds: float) -> None:
        """The calendar was set by so much: what is relative moves along."""
        for sql in clock_step.SHIFT_TIMES:
            self._run(sql, (seconds,) * sql.count("?"))
        for sql in clock_step.CLAMP_END_TIMES if seconds < 0 else ():
            self._run(sql, (self.now,) * sql.count("?"))

    def save_heartbeat(self, worker: WorkerHeartbeat) -> None:
        """A worker's sign of life."""
        sql = """INSERT INTO workers (id, host, pid, started_at, seen_at, slots, running) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, slots = excluded.slots,
                     running = excluded.running"""
        told = (worker.host, worker.pid, worker.started_at, worker.seen_at, worker.slots, worker.running)
        self._run(sql, (worker.id, *told))

    def delete_worker(self, worker_id: str) -> None:
        """It said goodbye, or is known to be dead."""
        self._run("DELETE FROM workers WHERE id = ?", (worker_id,))
        self.release_batches(worker_id)

    def save_key(self, key: ApiKey) -> None:
        """Add a key, or change one."""
        sql = records.insert("keys", records.KEY) + " ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at"
        self._run(sql, records.key_values(key))

    def set_shared_value(self, key: str, value: Any) -> None:
        """Keep a small value for other processes."""
        sql = "INSERT INTO memos (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._run(sql, (key, records.dump(value) or "null"))

    def erase_content(self, job_id: str) -> None:
        """Prompt, files and answer; what is left says that there was a job, and what it cost."""
        of_job = "(SELECT id FROM deliveries WHERE job_id = ?)"
        self._run("UPDATE requests SET request = '{}', webhook_headers = NULL WHERE job_id = ?", (job_id,))
        self._run("UPDATE outcomes SET body = ? WHERE job_id = ?", (b"", job_id))
        self._run("UPDATE posts SET reply = '' WHERE delivery_id IN " + of_job, (job_id,))
        self._run(f"DELETE FROM delivery_bodies WHERE delivery_id IN {of_job}", (job_id,))
        for table in ("partials", "fetched_files", "answers", "repairs"):
            self._run(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))

    def purge_tombstones(self, before: float) -> None:
        """Forget the last of what was purged before then."""
        self._run("DELETE FROM tombstones WHERE purged_at < ?", (before,))

    def purge(self, *, done_before: float, failed_before: float, limit: int, size: int) -> tuple[int, bool]:
        """
        Erase jobs past their time, oldest first; a tombstone stays of each. Answers how many, and if more are left.

        Up to `limit` of them, and no more once `size` bytes are gone: what is erased is overwritten, so that it is
        bytes that take the time.
        """
        latest = max(done_before, failed_before)
        found = [row[0] for row in self._run(_PURGEABLE, (done_before, failed_before, latest, limit))]
        for number, job_id in enumerate(found, 1):
            size -= int(self._run(_SIZE, (job_id,) * 4)[0][0])
            self._run(_TOMBSTONE, (self.now, job_id))
            of_job = "(SELECT id FROM deliveries WHERE job_id = ?)"
            self._run(f"DELETE FROM posts WHERE delivery_id IN {of_job}", (job_id,))
            self._run(f"DELETE FROM delivery_bodies WHERE delivery_id IN {of_job}", (job_id,))
            for table in _OF_A_JOB:
                self._run(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))
            self._run("DELETE FROM jobs WHERE id = ?", (job_id,))
            if size <= 0:
                return number, number < len(found) or len(found) == limit
        return len(found), len(found) == limit

    def _append(self, change: Change) -> None:
        job_id = change.job.id
        self._event(change.event)
        if change.call is not None:
            self._run(_PUT_CALL, records.call_values(change.call))
        if change.next_call is not None:
            self._run(_PUT_CALL, records.call_values(change.next_call))
        if (outcome := change.outcome) is not None:
            sql = "INSERT INTO outcomes (job_id, run, at, status, body) VALUES (?, ?, ?, ?, ?)"
            self._run(sql, (job_id, outcome.run, outcome.at, outcome.status, outcome.body))
            # An answer to mend is a failure's: most jobs have none, and every statement costs.
            for table in ("partials", "repairs") if change.job.attempt > 1 else ("partials",):
                self._run(f"DELETE FROM {table} WHERE job_id = ?", (job_id,))
            if outcome.blocks:
                self.save_blocks(job_id, outcome.run, outcome.blocks)
        if change.delivery is not None:
            self.add_delivery(change.delivery)

    def _event(self, event: Event) -> None:
        sql = "INSERT INTO events (job_id, subject, version, at, name, detail) VALUES (?, ?, ?, ?, ?, ?)"
        told = (event.subject, event.version, event.at, event.name.value, records.dump(event.detail or None))
        self._run(sql, (event.job_id, *told))
