"""What is kept besides the values of `core`, and how jobs are chosen."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..core.jobs.job import State


@dataclass(frozen=True, kw_only=True)
class Group:
    """What one group shares: None means no limit. `next_at` paces its rate: not before this time."""

    name: str
    concurrency: int | None = None
    rate: float | None = None  # jobs a minute
    paused_at: float | None = None
    next_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class WorkerHeartbeat:
    """A worker's sign of life."""

    id: str
    host: str
    pid: int
    started_at: float
    seen_at: float
    slots: int
    running: int


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs to list, newest first. `before` is the last id of the page before (a keyset, never an offset)."""

    owner: str | None = None  # None: every owner's
    states: Collection[State] = ()
    group: str | None = None
    since: float | None = None
    text: str | None = None  # in prompt, answer, requestId
    dead: bool = False  # whose delivery is dead
    unacked: bool = False
    host: str | None = None  # whose delivery goes to that destination or host
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, kw_only=True)
class BatchItem:
    """One try of one job in a batch. `custom_id` is its name upstream; `done`: its result was taken in."""

    custom_id: str
    batch_id: str
    job_id: str
    number: int
    done: bool = False
