"""Reads of what is lost: rows that the disk has changed, and purged jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..core.jobs.tombstone import Tombstone
    from ..core.retention import PurgeCutoffs


class DamageReads(Protocol):
    """Rows that are not what was written."""

    def damaged(self, *, cursor: str, limit: int) -> tuple[Sequence[tuple[str, str]], str | None]: ...
    def damaged_running(self) -> Sequence[Job]: ...
    def orphaned_requests(self) -> Sequence[str]: ...
    def has_lost_row(self, request_id: str, owner: str | None) -> bool: ...


class PurgeReads(Protocol):
    """Tombstones of purged jobs."""

    def tombstones(self, request_id: str, owner: str | None) -> Sequence[Tombstone]: ...
    def purgeable(
        self, cutoffs: PurgeCutoffs, *, after: tuple[float, str], limit: int
    ) -> tuple[Sequence[str], tuple[float, str] | None]: ...
