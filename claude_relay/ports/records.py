"""Stored records besides the values of `core`, and the filter of job lists."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..core.jobs.job import State


@dataclass(frozen=True, kw_only=True)
class Group:
    """The limits of one group: None means no limit. `next_at` is the earliest next start, by its rate."""

    name: str
    concurrency: int | None = None
    rate: float | None = None  # jobs a minute
    paused_at: float | None = None
    next_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class WorkerHeartbeat:
    """A worker's heartbeat."""

    id: str
    host: str
    pid: int
    started_at: float
    seen_at: float
    slots: int
    running: int


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """A filter of jobs, listed newest first. `before` is the last id of the previous page (a keyset, not an offset)."""

    owner: str | None = None  # None: of all owners
    states: Collection[State] = ()
    group: str | None = None
    since: float | None = None
    text: str | None = None  # in prompt, answer, requestId
    dead: bool = False  # only with a dead delivery
    unacked: bool = False
    host: str | None = None  # only with a delivery to that destination or host
    before: str | None = None
    limit: int = 50


@dataclass(frozen=True, kw_only=True)
class BatchItem:
    """One attempt of one job in a batch. `custom_id` is its name at Anthropic; `done`: its result was applied."""

    custom_id: str
    batch_id: str
    job_id: str
    number: int
    done: bool = False
