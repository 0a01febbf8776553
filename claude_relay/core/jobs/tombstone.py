"""The remainder of a purged job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_dataclass import dataclass

if TYPE_CHECKING:
    from .job import State


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """The few fields of a purged job that keep its requestId from running twice."""

    job_id: str
    owner: str
    request_id: str
    body_hash: str
    state: State
    created_at: float
    finished_at: float | None
    purged_at: float
