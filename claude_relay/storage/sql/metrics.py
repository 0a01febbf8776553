"""Sums of what workers have counted: they stay when jobs are purged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .query import QueryBase

if TYPE_CHECKING:
    from ...core.metrics import Series

_ADD = """
INSERT INTO metrics (name, label, part, value) VALUES (?, ?, ?, ?)
ON CONFLICT (name, label, part) DO UPDATE SET value = metrics.value + excluded.value"""
_SET = """
INSERT INTO metrics (name, label, part, value) VALUES (?, ?, ?, ?)
ON CONFLICT (name, label, part) DO UPDATE SET value = excluded.value"""


class MetricReads(QueryBase):
    """Implements `ports.store.MetricReads`."""

    def metrics(self) -> Sequence[tuple[Series, float]]:
        """Every series with its value."""
        sql = "SELECT name, label, part, value FROM metrics ORDER BY name, label, part"
        return self._fetch_all(lambda row: ((row[0], row[1], row[2]), row[3]), sql)

    def ended_collections(self) -> dict[str, int]:
        """The number of collections that have ended, by status."""
        return self._fetch_pairs("SELECT status, count(*) FROM collections WHERE phase = 'finished' GROUP BY status")


class MetricWrites(QueryBase):
    """Implements `ports.store.MetricWrites`."""

    def add_metrics(self, changes: Mapping[Series, float]) -> None:
        """Add to sums."""
        for series, value in sorted(changes.items()):  # one order for all workers
            self._run(_ADD, (*series, value))

    def set_metrics(self, values: Mapping[Series, float]) -> None:
        """Replace the values of gauges."""
        for series, value in sorted(values.items()):
            self._run(_SET, (*series, value))
