"""Reads that only the dashboard's pages need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .records import FinishedJob, RunningCall


class DashboardReads(Protocol):
    """Calls in flight, ended jobs, and callbacks by destination."""

    def running_calls(self, *, limit: int, owner: str | None = None) -> Sequence[RunningCall]: ...
    def held_jobs(self, *, limit: int) -> int: ...
    def finished_jobs(self, *, since: float, limit: int, owner: str | None = None) -> Sequence[FinishedJob]: ...
    def dead_by_destination(self) -> dict[str, int]: ...
    def latest_url(self, destination: str) -> str | None: ...
