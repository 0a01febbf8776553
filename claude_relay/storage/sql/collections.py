"""Collections, and their rows as a whole. The rows themselves are jobs."""

from __future__ import annotations

from collections.abc import Collection as Values
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.collections.collection import MARK, Collection, Kind, Phase
from ...core.digests import digest
from ...core.jobs.events import EventName
from ...core.jobs.job import UNFINISHED, Job, State
from ...core.money.spend import DUST
from ...errors import Conflict
from . import records, row_variables
from .insert_buffer import TABLES
from .query import QueryBase, Row, placeholders
from .tallies import TallyWrites, of_job, of_state

if TYPE_CHECKING:
    from ...core.jobs.change import Outcome
    from ...core.jobs.submission import StoredRequest

_OWN = (
    "phase claimable total touched_at cancel_requested_at finished_at status completed failed cost_usd saved_usd"
    " spent_usd max_cost_usd each_row on_invalid kind template template_body defaults columns retry_rows version"
    " checks_failed"
).split()
_COLLECTION = f"""
SELECT {records.columns(records.JOB, "j.")}, {records.columns(_OWN, "k.")}
FROM collections k JOIN jobs j ON j.id = k.id"""
_ROW = f"SELECT {records.columns(records.JOB, 'j.')} FROM jobs j"
#: The condition of the index `jobs_row_state`, in its words: most rows leave it as they end.
_LISTED = "state <> 'completed'"
_OPEN = f"{_LISTED} AND state IN ({', '.join(repr(state.value) for state in UNFINISHED)})"
_RESULTS = f"""
SELECT {records.columns(records.JOB, "j.")}, o.body, o.digest, r.variables, {row_variables.NEEDED} FROM jobs j
JOIN requests r ON r.job_id = j.id
LEFT JOIN outcomes o ON o.job_id = j.id AND o.run = j.run AND j.finished_at IS NOT NULL
WHERE j.collection = ? AND j.row_no > ? AND j.row_no <= ? ORDER BY j.row_no LIMIT ?"""
_RESERVED = f"""
SELECT sum(c.reserved_usd) FROM jobs j JOIN calls c ON c.job_id = j.id AND c.number = j.calls
WHERE j.collection = ? AND j.{_LISTED} AND j.state IN ('running', 'batched')"""
# Past its retention, with nothing on its way, and no row that a later job or a batch still needs.
_PURGEABLE = f"""
{_COLLECTION} LEFT JOIN deliveries d ON d.job_id = j.id AND d.run = j.run
WHERE k.phase = 'finished' AND k.finished_at <= ?
  AND coalesce(d.finished_at, k.finished_at) <= CASE
      WHEN k.failed = 0 AND coalesce(d.state, '') <> 'dead' THEN ? ELSE ? END
  AND NOT EXISTS (SELECT 1 FROM deliveries p WHERE p.job_id = j.id AND p.state IN ('pending', 'sending'))
  AND NOT EXISTS (SELECT 1 FROM jobs r JOIN deliveries p ON p.job_id = r.id
                  WHERE r.collection = k.id AND k.each_row = 1 AND p.state IN ('pending', 'sending'))
  AND NOT EXISTS (SELECT 1 FROM continuations c JOIN jobs r ON r.id = c.earlier_id WHERE r.collection = k.id)
  AND NOT EXISTS (SELECT 1 FROM batch_items i JOIN jobs r ON r.id = i.job_id WHERE r.collection = k.id AND i.done = 0)
ORDER BY k.finished_at LIMIT 1"""
# Delivered with `retain: metadata`, and rows with content left.
_ERASABLE = f"""
{_ROW} JOIN collections k ON k.id = j.collection JOIN deliveries d ON d.job_id = k.id JOIN jobs c ON c.id = k.id
WHERE c.retain = 'metadata' AND k.phase = 'finished' AND d.run = c.run AND d.state = 'delivered'
  AND EXISTS (SELECT 1 FROM requests r WHERE r.job_id = j.id AND r.request <> '{{}}')
LIMIT ?"""


class CollectionReads(QueryBase):
    """Implements `ports.store.CollectionReads`."""

    def collection(self, identity: str) -> Collection | None:
        """A collection by its internal id."""
        return self._fetch_first(_to_collection, f"{_COLLECTION} WHERE k.id = ?", (identity,))

    def find_collections(self, collection_id: str, owner: str | None) -> Sequence[Collection]:
        """The collections with that id, of one owner or (None) of all."""
        by_owner, args = (" AND j.owner = ?", [owner]) if owner is not None else ("", [])
        sql = f"{_COLLECTION} WHERE j.request_id = ?{by_owner}"
        return self._fetch_all(_to_collection, sql, (collection_id + MARK, *args))

    def collections(self, owner: str | None, *, before: str | None, limit: int) -> Sequence[Collection]:
        """The newest visible collections, of one owner or (None) of all."""
        where, args = ["k.phase NOT IN ('staging', 'purging')"], []
        if owner is not None:
            where, args = [*where, "k.owner = ?"], [owner]
        if before is not None:
            where, args = [*where, "k.id < ?"], [*args, before]
        sql = f"{_COLLECTION} WHERE {' AND '.join(where)} ORDER BY k.id DESC LIMIT ?"
        return self._fetch_all(_to_collection, sql, (*args, limit))

    def collections_in(self, *phases: Phase, cancelled: bool = False) -> Sequence[Collection]:
        """The collections in those phases; with `cancelled` those of them that are to be cancelled."""
        where = f"k.phase <> 'finished' AND k.phase IN ({placeholders(phases)})"
        if cancelled:
            where += " AND k.cancel_requested_at IS NOT NULL"
        return self._fetch_all(_to_collection, f"{_COLLECTION} WHERE {where}", [phase.value for phase in phases])

    def overspent_collections(self) -> Sequence[Collection]:
        """The collections that have spent their maximum, with rows that wait."""
        sql = f"""{_COLLECTION} WHERE k.phase <> 'finished' AND k.phase IN ('open', 'closed')
                  AND k.max_cost_usd - k.spent_usd <= ? AND EXISTS (
                      SELECT 1 FROM jobs r WHERE r.collection = k.id AND r.state = 'queued' AND r.{_LISTED})"""
        return self._fetch_all(_to_collection, sql, (DUST,))

    def unclaimable_collections(self) -> set[str]:
        """The internal ids of the collections whose rows do not start."""
        return {row[0] for row in self._run("SELECT id FROM collections WHERE claimable = 0", ())}

    def row_visible(self, job: Job) -> bool:
        """Whether readers see that row."""
        sql = "SELECT 1 FROM collections WHERE id = ? AND total >= ?"
        return bool(self._run(sql, (job.collection, job.row)))

    def has_open_rows(self, identity: str) -> bool:
        """Whether a row has not ended."""
        sql = f"SELECT 1 FROM jobs WHERE collection = ? AND {_OPEN} LIMIT 1"
        return bool(self._run(sql, (identity,)))

    def count_open_rows(self, identity: str, *, limit: int = 1_000) -> int:
        """The number of rows that have not ended, up to that many."""
        sql = f"""SELECT count(*) FROM (
                      SELECT 1 FROM jobs WHERE collection = ? AND {_OPEN} LIMIT ?) AS open"""
        return self._count(sql, (identity, limit))

    def row_states(self, identity: str, total: int) -> dict[State, tuple[int, float | None, float | None]]:
        """The number of rows in each state, their cost, and what their batch has saved."""
        sql = """SELECT state, count(*), sum(cost_usd), sum(CASE WHEN lane = 'batch'
                        THEN cost_usd ELSE 0.0 END) FROM jobs WHERE collection = ? AND row_no <= ? GROUP BY state"""
        return {State(row[0]): (row[1], row[2], row[3]) for row in self._run(sql, (identity, total))}

    def rows(
        self,
        identity: str,
        *,
        states: Values[State] = (),
        after_row: int = 0,
        limit: int = 100,
        numbers: Values[int] = (),
    ) -> Sequence[Job]:
        """Rows in their order: in those states, after that number, or with those numbers."""
        where, args = "j.collection = ? AND j.row_no > ?", [identity, after_row]
        if states:
            where, args = f"{where} AND j.state IN ({placeholders(states)})", [*args, *(each.value for each in states)]
            where += "" if State.COMPLETED in states else f" AND j.{_LISTED}"
        if numbers:
            where, args = f"{where} AND j.row_no IN ({placeholders(numbers)})", [*args, *numbers]
        return self._fetch_intact(records.to_job, f"{_ROW} WHERE {where} ORDER BY j.row_no LIMIT ?", (*args, limit))

    def unannounced_rows(self, identity: str, *, limit: int) -> Sequence[Job]:
        """Visible rows that were invalid at intake, and have a webhook but no delivery (by `jobs_row_state`)."""
        sql = f"""{_ROW} JOIN collections k ON k.id = j.collection
                  WHERE j.collection = ? AND j.state = 'failed' AND j.{_LISTED} AND j.row_no <= k.total AND j.calls = 0
                    AND j.error_type = 'invalid_request' AND j.has_webhook = 1
                    AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.job_id = j.id) ORDER BY j.row_no LIMIT ?"""
        return self._fetch_all(records.to_job, sql, (identity, limit))

    def row_results(
        self, identity: str, *, after_row: int, total: int, limit: int
    ) -> Sequence[tuple[Job, Any, dict[str, Any] | None]]:
        """Rows in their order, each with its outcome (None: not ended) and its variables."""
        rows = self._run(_RESULTS, (identity, after_row, total, limit))
        width = len(records.JOB)
        results = []
        for row in rows:
            job, (body, stored, *variables) = records.to_job(row[:width]), row[width:]
            outcome = _outcome(job.id, job.run, job.request_id, body, stored)
            results.append((job, outcome, row_variables.decode(job.id, *variables)))
        return results

    def row_outcomes(self, identity: str, *, numbers: Values[int]) -> Sequence[tuple[int, dict[str, Any]]]:
        """The outcomes of ended rows with those numbers, without anything else of the rows."""
        sql = f"""SELECT j.row_no, j.id, j.run, j.request_id, o.body, o.digest FROM jobs j
                  JOIN outcomes o ON o.job_id = j.id AND o.run = j.run
                  WHERE j.collection = ? AND j.row_no IN ({placeholders(numbers)}) ORDER BY j.row_no"""
        rows = self._run(sql, (identity, *numbers))
        return [(row[0], _outcome(*row[1:]) or {"requestId": row[3], "status": "failed"}) for row in rows]

    def row_sums(
        self, identity: str, *, after_row: int, limit: int, numbers: Values[int] = ()
    ) -> Sequence[tuple[int, dict[str, Any] | None, Sequence[dict[str, Any]] | None]]:
        """Number, usage and checks of rows that have ended: after that number, or with those numbers."""
        where, args = "collection = ? AND row_no > ? AND finished_at IS NOT NULL", [identity, after_row]
        if numbers:
            where, args = f"{where} AND row_no IN ({placeholders(numbers)})", [*args, *numbers]
        rows = self._run(
            f"SELECT row_no, usage, checks FROM jobs WHERE {where} ORDER BY row_no LIMIT ?", (*args, limit)
        )
        return [(row[0], records.load(row[1]), records.load(row[2])) for row in rows]

    def results_size(self, identity: str) -> int:
        """The bytes of all outcomes of the present runs."""
        sql = """SELECT sum(octet_length(o.body)) FROM jobs j JOIN outcomes o ON o.job_id = j.id AND o.run = j.run
                 WHERE j.collection = ?"""
        return self._count(sql, (identity,))

    def taken_ids(self, owner: str, request_ids: Sequence[str]) -> Sequence[str]:
        """Those of the requestIds that jobs of the owner have, or had."""
        marks = placeholders(request_ids)
        sql = f"""SELECT request_id FROM jobs WHERE request_id IN ({marks}) AND owner = ?
                  UNION SELECT request_id FROM tombstones WHERE request_id IN ({marks}) AND owner = ?"""
        return [row[0] for row in self._run(sql, (*request_ids, owner, *request_ids, owner))]

    def collection_request(self, identity: str, key: str) -> str | None:
        """The hash of the request that was made with that Idempotency-Key."""
        sql = "SELECT body_hash FROM collection_requests WHERE collection = ? AND key = ?"
        value: str | None = self._fetch_value(sql, (identity, key))
        return value

    def collection_budget(self, identity: str) -> tuple[float | None, float]:
        """The maximum cost of a collection, and what is spent or set aside of it."""
        rows = self._run("SELECT max_cost_usd, spent_usd FROM collections WHERE id = ?", (identity,))
        if not rows or rows[0][0] is None:
            return None, 0.0
        return rows[0][0], rows[0][1] + (self._fetch_value(_RESERVED, (identity,)) or 0.0)

    def purgeable_collection(self, *, done_before: float, failed_before: float) -> Collection | None:
        """The first collection past its retention."""
        latest = max(done_before, failed_before)
        return self._fetch_first(_to_collection, _PURGEABLE, (latest, done_before, failed_before))

    def erasable_rows(self, *, limit: int) -> Sequence[str]:
        """Internal ids of rows whose content is to be erased."""
        return [job.id for job in self._fetch_intact(records.to_job, _ERASABLE, (limit,))]


class CollectionWrites(TallyWrites):
    """Implements `ports.store.CollectionWrites`."""

    def add_collection(self, collection: Collection) -> None:
        """Add a collection; its job was added before."""
        names = ("id", "owner", *_OWN)
        values = (collection.id, collection.job.owner, *_values(collection))
        self._run(records.insert("collections", names), values)

    def save_collection(self, collection: Collection) -> None:
        """Save the next version. Raises `Conflict` if it has changed since. Its job is saved on its own."""
        values = (*_values(collection), collection.id, collection.version - 1)
        if not self._run(records.update("collections", _OWN), values):
            raise Conflict(f"collection {collection.collection_id} was changed at the same time; try again")

    def add_rows(self, rows: Sequence[tuple[Job, StoredRequest, Outcome | None]]) -> None:
        """Add rows, which are not visible yet, with few statements."""
        if not rows:
            return
        jobs = [value for job, _, _ in rows for value in records.job_values(job)]
        self._run(records.insert("jobs", records.JOB, len(rows)), jobs)
        requests: list[Any] = []
        for job, request, _ in rows:
            headers = self._cipher.encrypt(request.webhook_headers, owner=job.owner, row=job.id)
            requests.extend(records.request_values(job.id, request, headers))
        self._run(records.insert("requests", records.REQUEST, len(rows)), requests)
        events = [
            value
            for job, _, _ in rows
            for value in (job.id, "job", job.version, job.created_at, EventName.SUBMITTED.value, None)
        ]
        self._run(records.insert("events", TABLES["events"], len(rows)), events)
        for job, _, outcome in rows:
            self._moved(None, of_job(job))
            if outcome is not None:
                sql = records.INSERT_OUTCOME
                sealed = digest(job.id, outcome.run, outcome.body)
                self._run(sql, (job.id, outcome.run, outcome.at, outcome.status, sealed, outcome.body))

    def discard_rows(self, identity: str, *, after_row: int, limit: int) -> int:
        """Delete rows that never were visible; returns how many."""
        sql = "SELECT id FROM jobs WHERE collection = ? AND row_no > ? LIMIT ?"
        ids = [row[0] for row in self._run(sql, (identity, after_row, limit))]
        if ids:
            for table in ("continuations", "events", "outcomes", "requests"):
                self._run(f"DELETE FROM {table} WHERE job_id IN ({placeholders(ids)})", ids)
            sql = f"DELETE FROM jobs WHERE id IN ({placeholders(ids)}) RETURNING state, grp, owner"
            for row in self._run(sql, ids):
                self._moved(of_state(*row), None)
        return len(ids)

    def delete_collection(self, identity: str) -> None:
        """Delete a collection without rows; its job is purged on its own."""
        self._run("DELETE FROM collection_requests WHERE collection = ?", (identity,))
        self._run("DELETE FROM collections WHERE id = ?", (identity,))

    def add_collection_request(self, identity: str, key: str, body_hash: str) -> None:
        """Store the Idempotency-Key of a request that was carried out."""
        sql = "INSERT INTO collection_requests (collection, key, body_hash) VALUES (?, ?, ?)"
        self._run(sql, (identity, key, body_hash))

    def add_collection_spend(self, identity: str, usd: float) -> None:
        """Count the cost of a call against the maximum of a collection, where it has one."""
        sql = "UPDATE collections SET spent_usd = spent_usd + ? WHERE id = ? AND max_cost_usd IS NOT NULL"
        self._run(sql, (usd, identity))


def _outcome(job_id: str, run: int, request_id: str, body: Any, stored: bytes | None) -> dict[str, Any] | None:
    """The outcome of a row; None without one, or for an erased one. A damaged one is a failed row."""
    if not body:
        return None
    if not records.outcome_intact(job_id, run, bytes(body), stored):
        text = "the stored result is damaged"
        return {"requestId": request_id, "status": "failed", "error": text, "errorType": "internal"}
    outcome: dict[str, Any] = records.load(bytes(body).decode())
    return outcome


def _values(collection: Collection) -> tuple[Any, ...]:
    values = vars(collection) | {
        "phase": collection.phase.value,
        "claimable": int(collection.claimable),
        "each_row": int(collection.each),
        "kind": collection.kind.value if collection.kind else None,
        "template_body": records.dump(collection.template_body),
        "defaults": records.dump(dict(collection.defaults)),
        "columns": records.dump(list(collection.columns)),
        "retry_rows": None if collection.retry_rows is None else records.dump(list(collection.retry_rows)),
    }
    return tuple(values[name] for name in _OWN)


def _to_collection(row: Row) -> Collection:
    width = len(records.JOB)
    values = dict(zip(_OWN, row[width:], strict=True))
    values["each"] = bool(values.pop("each_row"))
    values["phase"] = Phase(values["phase"])
    values["claimable"] = bool(values["claimable"])
    values["kind"] = Kind(values["kind"]) if values["kind"] else None
    values["template_body"] = records.load(values["template_body"])
    values["defaults"] = records.load(values["defaults"])
    values["columns"] = tuple(records.load(values["columns"]))
    rows = records.load(values["retry_rows"])
    values["retry_rows"] = None if rows is None else tuple(rows)

    return Collection(job=records.to_job(row[:width]), **values)
