"""Alerts that were sent or are due, and the facts that raise them."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.deliveries.reply_text import describe_reply
from .query import QueryBase

_DEAD_BY_DESTINATION = """
SELECT destination, count(*), min(finished_at) FROM deliveries /* index: deliveries_died */
WHERE state = 'dead' AND finished_at > ? GROUP BY destination"""
_LAST_REPLY = """
SELECT last_status, last_error FROM deliveries /* index: deliveries_died */
WHERE state = 'dead' AND finished_at > ? AND destination = ? ORDER BY finished_at DESC LIMIT 1"""
_LATEST_MODELS = """
SELECT model, count(*) FROM (
    SELECT id, model FROM (SELECT id, model FROM jobs ORDER BY id DESC LIMIT ?) AS newest
    UNION SELECT id, model FROM (
        SELECT id, model FROM jobs /* index: jobs_state */ WHERE state = 'queued' AND state <> 'running'
        ORDER BY id LIMIT ?
    ) AS oldest
) AS named GROUP BY model ORDER BY count(*) DESC"""


#: The `kind` of a row that is no alert but the notice of an end; its `gone_at` is the time of that end.
_NOTICE = "resolved"


class AlertReads(QueryBase):
    """Implements `ports.store.AlertReads`."""

    def alerts(self) -> dict[str, tuple[str, float | None]]:
        """The raised alerts by cause: the kind of each, and since when its cause is resolved."""
        sql = "SELECT cause, kind, gone_at FROM alerts WHERE kind <> ?"
        return {row[0]: (row[1], row[2]) for row in self._run(sql, (_NOTICE,))}

    def alert_due(self) -> tuple[str, str, bytes, int] | None:
        """The first alert that is due now: cause, name, body and number of attempts."""
        sql = "SELECT cause, name, body, tries FROM alerts WHERE due_at <= ? ORDER BY due_at LIMIT 1"
        rows = self._run(sql, (self._now,))
        return (rows[0][0], rows[0][1], bytes(rows[0][2]), rows[0][3]) if rows else None

    def dead_deliveries(self, *, since: float) -> Sequence[tuple[str, int, float, str]]:
        """Destinations with deliveries that died after then: how many, since when, and the last reply in words."""
        return [(*row, self._last_reply(row[0], since)) for row in self._run(_DEAD_BY_DESTINATION, (since,))]

    def latest_models(self, *, limit: int) -> dict[str, int]:
        """The models of the latest jobs and of those that have waited longest; the number of jobs of each."""
        return self._fetch_pairs(_LATEST_MODELS, (limit, limit))

    def _last_reply(self, destination: str, since: float) -> str:
        [(status, error)] = self._run(_LAST_REPLY, (since, destination))
        return describe_reply(status, error) or "no answer"


class AlertWrites(QueryBase):
    """Implements `ports.store.AlertWrites`."""

    def add_alert(self, cause: str, kind: str, *, name: str, body: bytes) -> None:
        """Raise an alert, due now."""
        sql = "INSERT INTO alerts (cause, kind, name, body, tries, due_at) VALUES (?, ?, ?, ?, 0, ?)"
        self._run(sql, (cause, kind, name, body, self._now))

    def save_alert_sending(self, cause: str, *, attempts: int, due_at: float | None) -> None:
        """Store the number of attempts and the time of the next one (None: no more)."""
        self._run("UPDATE alerts SET tries = ?, due_at = ? WHERE cause = ?", (attempts, due_at, cause))

    def mark_alert(self, cause: str, *, gone_at: float | None) -> None:
        """Mark the cause of an alert as resolved since then, or (None) as present."""
        self._run("UPDATE alerts SET gone_at = ? WHERE cause = ?", (gone_at, cause))

    def delete_alert(self, cause: str) -> bytes:
        """Delete an alert with its cause, and return its body: the same cause raises a new one."""
        return bytes(self._fetch_value("DELETE FROM alerts WHERE cause = ? RETURNING body", (cause,)))

    def add_alert_notice(self, name: str, body: bytes) -> None:
        """Add the notice that a cause has ended, due now; the same name is added once."""
        sql = """INSERT INTO alerts (cause, kind, name, body, tries, due_at, gone_at) VALUES (?, ?, ?, ?, 0, ?, ?)
                 ON CONFLICT (cause) DO NOTHING"""
        self._run(sql, (f"{_NOTICE} {name}", _NOTICE, name, body, self._now, self._now))

    def delete_alert_notices(self, before: float) -> None:
        """Delete the notices that are older than that."""
        self._run("DELETE FROM alerts WHERE kind = ? AND gone_at < ?", (_NOTICE, before))
