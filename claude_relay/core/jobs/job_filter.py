"""The filter of a job listing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .job import State


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs to list, newest first. `before` is the last id of the previous page (a keyset, never an offset)."""

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
