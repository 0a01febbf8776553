"""
Requests and results of jobs, column by column.

A prompt may be megabytes, and is read only where it is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.digests import digest
from ...core.jobs.submission import StoredRequest, WebhookTarget
from . import records, row_variables
from .query import QueryBase, Row, placeholders

if TYPE_CHECKING:
    from ...core.jobs.change import Outcome
    from ...core.jobs.failure import PartialResponse

_REQUEST = f"SELECT {records.columns(records.REQUEST)} FROM requests WHERE job_id = ?"
_CALLBACK = f"SELECT {records.columns(records.CALLBACK)}, digest FROM requests WHERE job_id = ?"
_WEBHOOK = f"""
SELECT j.request_id, j.owner, r.job_id, r.webhook_headers, {records.columns(records.CALLBACK, "r.")}, r.digest
FROM jobs j JOIN requests r ON r.job_id = j.id WHERE j.id = ?"""
_PARTIAL = """
SELECT p.job_id, p.number, p.text, p.usage, p.model, p.upstream_request_id, p.digest, j.calls
FROM partials p JOIN jobs j ON j.id = p.job_id WHERE p.job_id = ?"""

_POSITION = "(CAST(? AS TEXT), CAST(? AS INTEGER), CAST(? AS INTEGER))"
_PARTIALS_AFTER = """
WITH wanted (length, job_id, number, start) AS (SELECT CAST(? AS INTEGER), w.* FROM (VALUES {rows}) AS w)
SELECT p.job_id, p.number, substr(p.text, CASE WHEN p.number = w.number THEN w.start ELSE 1 END, w.length)
FROM wanted w JOIN partials p ON p.job_id = w.job_id"""
_FINAL_OUTCOMES = """
SELECT j.calls, o.job_id, o.run, o.at, o.status, o.body, o.digest
FROM jobs j JOIN outcomes o ON o.job_id = j.id AND o.run = j.run
WHERE j.finished_at IS NOT NULL AND octet_length(o.body) <= ?"""


class RequestReads(QueryBase):
    """Implements `ports.store.RequestReads`."""

    def request(self, job_id: str) -> StoredRequest | None:
        """The stored request, without webhook headers. Raises `Damaged`."""
        return self._fetch_first(records.to_request, _REQUEST, (job_id,))

    def request_size(self, job_id: str) -> int:
        """The size of the stored request in bytes."""
        return self._count("SELECT octet_length(request) FROM requests WHERE job_id = ?", (job_id,))

    def options(self, job_id: str) -> dict[str, Any]:
        """The options of a request, without its files, which may be tens of megabytes in the same column."""
        text = self._fetch_value("SELECT request -> 'options' FROM requests WHERE job_id = ?", (job_id,))
        return records.load(text) or {}

    def metadata(self, job_id: str) -> Any:
        """The metadata to echo, without the prompt beside it. Raises `Damaged`."""
        callback = self.callback_fields(job_id)
        return None if callback is None else callback.metadata

    def callback_fields(self, job_id: str) -> StoredRequest | None:
        """The request as far as the callback needs it, without the prompt. Raises `Damaged`."""
        return self._fetch_first(lambda row: records.to_callback(row, request={}), _CALLBACK, (job_id,))

    def webhook_target(self, job_id: str) -> WebhookTarget | None:
        """The webhook of a job with its decrypted headers, without the prompt beside it. Raises `Damaged`."""
        return self._fetch_first(self._to_webhook, _WEBHOOK, (job_id,))

    def outcome(self, job_id: str, run: int) -> Outcome | None:
        """The outcome of a run. Raises `Damaged`."""
        sql = "SELECT job_id, run, at, status, body, digest FROM outcomes WHERE job_id = ? AND run = ?"
        return self._fetch_first(records.to_outcome, sql, (job_id, run))

    def outcome_size(self, job_id: str, run: int) -> int:
        """The size of a run's callback in bytes; 0 without one."""
        return self._count(
            "SELECT coalesce(max(octet_length(body)), 0) FROM outcomes WHERE job_id = ? AND run = ?", (job_id, run)
        )

    def final_outcomes(self, job_ids: Collection[str], *, max_bytes: int) -> Sequence[tuple[int, Outcome]]:
        """The outcomes of jobs that have ended, each with the number of its last call; without larger ones."""
        sql = f"{_FINAL_OUTCOMES} AND j.id IN ({placeholders(job_ids)})"
        return self._fetch_intact(lambda row: (row[0], records.to_outcome(row[1:])), sql, (max_bytes, *job_ids))

    def contents(self, job_ids: Collection[str]) -> Sequence[tuple[str, str, str | None, bytes | None]]:
        """Id, requestId, request and latest outcome of each job, as they are stored; the newest one first."""
        # Subqueries, as PostgreSQL would rather read the tables than some hundred rows by their keys.
        sql = f"""SELECT j.id, j.request_id, (SELECT r.request FROM requests r WHERE r.job_id = j.id),
                         (SELECT o.body FROM outcomes o WHERE o.job_id = j.id AND o.run = j.run)
                  FROM jobs j WHERE j.id IN ({placeholders(job_ids)}) ORDER BY j.id DESC"""
        rows = self._run(sql, tuple(job_ids))
        return [(*row[:3], None if row[3] is None else bytes(row[3])) for row in rows]

    def nth_newest(self, number: int) -> str | None:
        """The id of the job that is so many from the newest one; None where there are fewer."""
        value: str | None = self._fetch_value("SELECT id FROM jobs ORDER BY id DESC LIMIT 1 OFFSET ?", (number - 1,))
        return value

    def partial(self, job_id: str) -> PartialResponse | None:
        """
        The response at the last checkpoint.

        Of an earlier call only the text: its usage is already in the ledger, with the entry that it belongs to. A
        damaged one is left out.
        """
        return self._fetch_first_intact(records.to_partial, _PARTIAL, (job_id,))

    def partials_after(self, positions: Mapping[str, tuple[int, int]], *, limit: int) -> Sequence[tuple[str, int, str]]:
        """
        Job, call and text at the last checkpoint of each job; `positions` has a call and an offset by job.

        Of that call only the text after so many characters, of another one from its beginning; at most `limit` of them.
        """
        sql = _PARTIALS_AFTER.format(rows=", ".join([_POSITION] * len(positions)))
        values = [value for job_id, (call, offset) in positions.items() for value in (job_id, call, offset + 1)]
        return self._fetch_all(lambda row: (row[0], row[1], row[2]), sql, (limit, *values))

    def _to_webhook(self, row: Row) -> WebhookTarget:
        request_id, owner, job_id, encrypted, *callback = row
        request = records.to_callback(callback, request={})
        headers = self._cipher.decrypt(encrypted, owner=owner, row=job_id)
        return WebhookTarget.of(request_id, request, headers)


class RequestWrites(QueryBase):
    """Implements `ports.store.RequestWrites`."""

    def save_request(self, request: StoredRequest) -> None:
        """Replace the request of a job; the variables of a row may be places in it."""
        content, job_id = records.dump(request.request) or "", request.job_id
        sql = f"SELECT r.variables, {row_variables.NEEDED} FROM requests r WHERE r.job_id = ?"
        [row] = self._run(sql, (job_id,))
        variables = row_variables.decode(job_id, *row)
        stored = None if variables is None else row_variables.encode(variables, content)
        sql = "UPDATE requests SET request = ?, request_digest = ?, variables = ? WHERE job_id = ?"
        self._run(sql, (content, digest(job_id, content), stored, job_id))
