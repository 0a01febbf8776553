"""Limits of groups and model families, counted while a claim goes on."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING

from ..core.jobs.fairness import Flow, count_by
from ..core.lazy_dataclass import dataclass
from .holds import load_holds

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..ports import Group, ReadTransaction, Transaction

#: A start up to this many seconds late does not delay the starts that follow.
_LATE = 0.25


@dataclass(frozen=True)
class FamilyCapacity:
    """Calls of each family that the worker would still make; `other`: of a family not named (None: no limit)."""

    by_family: Mapping[str, int] = field(default_factory=dict)
    other: int | None = None


class ClaimLimiter:
    """The groups and families that may start another job, while a claim goes on."""

    def __init__(self, tx: ReadTransaction, capacity: FamilyCapacity, throttled: Collection[str]) -> None:
        self._tx = tx
        self._capacity, self._other = dict(capacity.by_family), capacity.other
        self.blocked_families = {name for name, left in capacity.by_family.items() if left <= 0} | set(throttled)
        self.running = tx.running_by_flow()
        self._running = count_by("group", self.running)
        self._groups = {group.name: group for group in tx.groups()}
        self._rate_used: set[str] = set()
        self._blocked_collections = tx.unclaimable_collections()
        self.blocked_groups = {group.name for group in self._groups.values() if not self._has_capacity(group)}

    def blocks(self, flow: Flow) -> bool:
        """Whether the group or the family of that flow has no capacity, or its collection starts no rows."""
        return (
            flow.group in self.blocked_groups
            or flow.family in self.blocked_families
            or flow.collection in self._blocked_collections
        )

    def admits(self, job: Job) -> bool:
        """Whether the job's group and family have capacity; if so, the job is counted."""
        left = self._capacity.get(job.family, self._other)
        if job.family in self.blocked_families:
            return False
        group = self._groups.get(job.group)
        if group is not None and not self._has_capacity(group):
            self.blocked_groups.add(group.name)
            return False
        if left is not None:
            self._capacity[job.family] = left - 1
            if left <= 1:
                self.blocked_families.add(job.family)
        if group is None:
            return True
        self._running[group.name] += 1
        if group.rate is not None:
            # Evenly spaced (GCRA without a burst): a minute's jobs never all start in its first second.
            now = self._tx.now
            started_at = group.next_at if now - group.next_at < _LATE else now
            self._groups[group.name] = replace(group, next_at=started_at + 60.0 / group.rate)
            self._rate_used.add(group.name)
        return True

    def save(self, tx: Transaction) -> None:
        """Save the next start of each group whose rate was used."""
        for name in self._rate_used:
            tx.save_group(self._groups[name])

    def _has_capacity(self, group: Group) -> bool:
        full = group.concurrency is not None and self._running[group.name] >= group.concurrency
        waits = group.rate is not None and group.next_at > self._tx.now

        return not (full or waits or group.paused_at is not None)


def seconds_until_capacity(tx: ReadTransaction, blocked_owners: Collection[str]) -> float | None:
    """See `Execution.seconds_until_capacity`."""
    holds = load_holds(tx)
    if holds.queue_wide or holds.blocks_all:
        return None
    groups = tx.groups()
    paused = {group.name for group in groups if group.paused_at is not None}
    flows = (item.flow for item in tx.waiting_flows()[0])
    stopped = tx.unclaimable_collections()
    if not any(
        flow.group not in paused
        and flow.family not in holds.throttled_families
        and flow.owner not in blocked_owners
        and flow.collection not in stopped
        for flow in flows
    ):
        return None

    return min((group.next_at - tx.now for group in groups if group.next_at > tx.now), default=math.inf)
