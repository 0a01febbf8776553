"""Control of the queue: groups, holds, workers, API keys, values shared between processes, clock steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...ports import Group, WorkerHeartbeat
from . import clock_step, key_records, records
from .query import QueryBase

if TYPE_CHECKING:
    from ...core.jobs.holds import HoldScope, QueueHold
    from ...core.keys import ApiKey

_GROUP = "SELECT name, concurrency, rate, paused_at, next_at FROM groups"
_HOLD = "scope, reason, since, until, detail"
_KEY = f"SELECT {records.columns(key_records.KEY)} FROM keys"


class ControlReads(QueryBase):
    """Implements `ports.store.ControlReads`."""

    def group(self, name: str) -> Group:
        """A group; one without settings has no limits."""
        return self._fetch_first(records.to_group, f"{_GROUP} WHERE name = ?", (name,)) or Group(name=name)

    def groups(self) -> Sequence[Group]:
        """The groups with settings of their own."""
        return self._fetch_all(records.to_group, f"{_GROUP} ORDER BY name")

    def holds(self) -> Sequence[QueueHold]:
        """The blocked parts of the queue, and why each is blocked."""
        return self._fetch_all(records.to_hold, f"SELECT {_HOLD} FROM holds ORDER BY scope")

    def workers(self) -> Sequence[WorkerHeartbeat]:
        """The registered workers."""
        sql = "SELECT id, host, pid, started_at, seen_at, slots, running FROM workers ORDER BY id"
        return self._fetch_all(records.to_worker, sql)

    def key(self, key_id: str) -> ApiKey | None:
        """An API key by its public part."""
        return self._fetch_first(key_records.to_key, f"{_KEY} WHERE id = ?", (key_id,))

    def api_keys(self) -> Sequence[ApiKey]:
        """All API keys, revoked ones included."""
        return self._fetch_all(key_records.to_key, f"{_KEY} ORDER BY name")

    def shared_value(self, key: str) -> Any:
        """The value that processes share under that key; None without one."""
        return records.load(self._fetch_value("SELECT value FROM memos WHERE key = ?", (key,)))


class ControlWrites(QueryBase):
    """Implements `ports.store.ControlWrites`."""

    def save_group(self, group: Group) -> None:
        """Store the settings of a group."""
        sql = """INSERT INTO groups (name, concurrency, rate, paused_at, next_at) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency, rate = excluded.rate,
                     paused_at = excluded.paused_at, next_at = excluded.next_at"""
        self._run(sql, (group.name, group.concurrency, group.rate, group.paused_at, group.next_at))

    def save_hold(self, hold: QueueHold) -> None:
        """Block a part of the queue."""
        sql = f"""INSERT INTO holds ({_HOLD}) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (scope) DO UPDATE SET reason = excluded.reason, until = excluded.until,
                     detail = excluded.detail"""
        self._run(sql, (str(hold.scope), hold.reason, hold.since, hold.until, hold.detail))

    def delete_hold(self, scope: HoldScope) -> QueueHold | None:
        """Unblock a part of the queue; returns the hold that blocked it."""
        sql = f"DELETE FROM holds WHERE scope = ? RETURNING {_HOLD}"
        return self._fetch_first(records.to_hold, sql, (str(scope),))

    def save_shares(self, tags: Mapping[str, float]) -> None:
        """Store the tags of fair queueing, by share."""
        rows = ", ".join(["(?, ?)"] * len(tags))
        sql = f"INSERT INTO shares (name, tag) VALUES {rows} ON CONFLICT (name) DO UPDATE SET tag = excluded.tag"
        self._run(sql, [value for item in tags.items() for value in item])

    def purge_shares(self) -> None:
        """Delete the tags that are not ahead of the virtual time, which mean nothing any more."""
        self._run("DELETE FROM shares WHERE tag < (SELECT tag FROM shares WHERE name = '')", ())

    def save_heartbeat(self, worker: WorkerHeartbeat) -> None:
        """Store a worker's heartbeat."""
        sql = """INSERT INTO workers (id, host, pid, started_at, seen_at, slots, running) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, slots = excluded.slots,
                     running = excluded.running"""
        process = (worker.host, worker.pid, worker.started_at)
        self._run(sql, (worker.id, *process, worker.seen_at, worker.slots, worker.running))

    def delete_worker(self, worker_id: str) -> None:
        """Deregister a worker that stopped or died, and release its batches."""
        self._run("DELETE FROM workers WHERE id = ?", (worker_id,))
        self._run("UPDATE batches SET worker = NULL, held_until = NULL WHERE worker = ?", (worker_id,))

    def save_key(self, key: ApiKey) -> None:
        """Add an API key, revoke one, or change its weight or budget."""
        sql = records.insert("keys", key_records.KEY) + (
            " ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at, weight = excluded.weight,"
            " daily_budget_usd = excluded.daily_budget_usd"
        )
        self._run(sql, key_records.key_values(key))

    def set_shared_value(self, key: str, value: Any) -> None:
        """Store a small value for other processes."""
        sql = "INSERT INTO memos (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        self._run(sql, (key, records.dump(value) or "null"))

    def shift_times(self, seconds: float) -> None:
        """Move relative times by a step of the calendar clock."""
        for sql in clock_step.SHIFT_TIMES:
            self._run(sql, (seconds,) * sql.count("?"))
        for sql in clock_step.CLAMP_END_TIMES if seconds < 0 else ():
            self._run(sql, (self._now,) * sql.count("?"))
