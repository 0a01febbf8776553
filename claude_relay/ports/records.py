"""Stored records besides the values of `core`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy_dataclass import dataclass

if TYPE_CHECKING:
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
class BatchItem:
    """One attempt of one job in a batch. `custom_id` is its name at Anthropic; `done`: its result was applied."""

    custom_id: str
    batch_id: str
    job_id: str
    number: int
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class LostStore:
    """
    A store whose file is no longer at its path, while daemons have it open. Nothing more is accepted.

    `command` saves or restores its content; `settled`: the rescue has ended, and the command stays the same.
    `responsible`: of several processes, this one tells the operator.
    """

    message: str
    command: str
    since: float
    settled: bool
    responsible: bool


@dataclass(frozen=True, kw_only=True)
class RunningCall:
    """A call in flight, with the job it is made for."""

    request_id: str
    owner: str
    group: str
    model: str
    worker: str
    started_at: float
    first_byte_at: float | None
    text_length: int
    cancel_requested: bool
    job_id: str  # the internal id


@dataclass(frozen=True, kw_only=True)
class FinishedJob:
    """The end of a job, for figures over time."""

    finished_at: float
    started_at: float  # of its last run
    state: State
    cost_usd: float | None
