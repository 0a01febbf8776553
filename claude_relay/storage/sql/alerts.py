"""Alerts that are told or to be told, and what they are made of, in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from .query import QueryBase


class AlertReads(QueryBase):
    """That part of `ports.View`."""

    def alerts(self) -> dict[str, tuple[str, float | None]]:
        """The causes that were raised: of what kind, and since when each is gone."""
        found = self._run("SELECT cause, kind, gone_at FROM alerts", ())
        return {row[0]: (row[1], row[2]) for row in found}

    def alert_due(self) -> tuple[str, str, bytes, int] | None:
        """The first that is to be told now: cause, name, body, and how often it was tried."""
        sql = "SELECT cause, name, body, tries FROM alerts WHERE due_at <= ? ORDER BY due_at LIMIT 1"
        found = self._run(sql, (self._now,))
        return (found[0][0], found[0][1], bytes(found[0][2]), found[0][3]) if found else None

    def dead_deliveries(self, *, since: float) -> Sequence[tuple[str, int, float, str]]:
        """Destinations whose deliveries died after then: how many, since when, and what came back last."""
        sql = """SELECT destination, count(*), min(finished_at) FROM deliveries INDEXED BY deliveries_died
                 WHERE state = 'dead' AND finished_at > ? GROUP BY destination"""
        last = """SELECT CASE WHEN last_status IS NULL THEN coalesce(last_error, 'no answer')
                              ELSE 'it answered ' || last_status END
                  FROM deliveries INDEXED BY deliveries_died
                  WHERE state = 'dead' AND finished_at > ? AND destination = ? ORDER BY finished_at DESC LIMIT 1"""
        return [(*row, str(self._value(last, (since, row[0])))) for row in self._run(sql, (since,))]

    def latest_models(self, *, limit: int) -> dict[str, int]:
        """Which models the latest jobs name, and those that have waited longest; how many each."""
        sql = """SELECT model, count(*) FROM (
                     SELECT id, model FROM (SELECT id, model FROM jobs ORDER BY id DESC LIMIT ?) AS newest
                     UNION SELECT id, model FROM (
                         SELECT id, model FROM jobs INDEXED BY jobs_state WHERE state = 'queued' ORDER BY id LIMIT ?
                     ) AS oldest
                 ) AS named GROUP BY model ORDER BY count(*) DESC"""
        return dict(self._run(sql, (limit, limit)))  # type: ignore[arg-type]


class AlertWrites(QueryBase):
    """That part of `ports.Unit`."""

    def add_alert(self, cause: str, kind: str, *, name: str, body: bytes) -> None:
        """Raise one: it is to be told now."""
        sql = "INSERT INTO alerts (cause, kind, name, body, tries, due_at) VALUES (?, ?, ?, ?, 0, ?)"
        self._run(sql, (cause, kind, name, body, self._now))

    def save_alert_sending(self, cause: str, *, tries: int, due_at: float | None) -> None:
        """It was tried so often, and will be again at that time (None: no more)."""
        self._run("UPDATE alerts SET tries = ?, due_at = ? WHERE cause = ?", (tries, due_at, cause))

    def mark_alert(self, cause: str, *, gone_at: float | None) -> None:
        """Its cause is away since then, or (None) there."""
        self._run("UPDATE alerts SET gone_at = ? WHERE cause = ?", (gone_at, cause))

    def delete_alert(self, cause: str) -> None:
        """Its cause is over: when it comes back it is told again."""
        self._run("DELETE FROM alerts WHERE cause = ?", (cause,))
