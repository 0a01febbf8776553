"""Reads of what the disk may have changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class DamageReads(Protocol):
    """Rows that are not what was written."""

    def damaged(self, *, cursor: str, limit: int) -> tuple[Sequence[tuple[str, str]], str | None]: ...
    def orphaned_requests(self) -> Sequence[str]: ...
    def has_lost_row(self, request_id: str, owner: str | None) -> bool: ...
