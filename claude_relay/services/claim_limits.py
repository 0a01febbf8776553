"""Which jobs may be claimed just now: groups, families of models and budgets, counted while a claim goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ..core.jobs.job import Job
from ..ports import Group, Transaction

#: A start that comes up to so many seconds after its time shifts none of those after it.
_LATE = 0.25


@dataclass(frozen=True)
class FamilyCapacity:
    """How many more calls of each family would be made now; `other` of one that is not named (None: any number)."""

    by_family: Mapping[str, int] = field(default_factory=dict)
    other: int | None = None


class ClaimLimiter:
    """Which groups and families may have one more, while a claim goes on."""

    def __init__(self, tx: Transaction, rooms: FamilyCapacity, throttled: Collection[str]) -> None:
        self._tx = tx
        self._rooms, self._other = dict(rooms.by_family), rooms.other
        self.blocked_families = {name for name, room in rooms.by_family.items() if room <= 0} | set(throttled)
        self._running = tx.running_by_group()
        self._groups = {group.name: group for group in tx.groups()}
        self._moved: set[str] = set()
        self.blocked_groups = {group.name for group in self._groups.values() if not self._open(group)}

    def admits(self, job: Job) -> bool:
        """Whether the job's group and family take it; if so, it is counted."""
        room = self._rooms.get(job.family, self._other)
        if job.family in self.blocked_families:
            return False
        group = self._groups.get(job.group)
        if group is not None and not self._open(group):
            self.blocked_groups.add(group.name)
            return False
        if room is not None:
            self._rooms[job.family] = room - 1
            if room <= 1:
                self.blocked_families.add(job.family)
        if group is None:
            return True
        self._running[group.name] = self._running.get(group.name, 0) + 1
        if group.rate is not None:
            # Evenly spaced (GCRA without a burst): a minute's jobs never all start in its first second.
            now = self._tx.now
            late = now - group.next_at
            on = group.next_at if late < _LATE else now
            self._groups[group.name] = replace(group, next_at=on + 60.0 / group.rate)
            self._moved.add(group.name)
        return True

    def save(self) -> None:
        """Write down how far the rates have been used."""
        for name in self._moved:
            self._tx.save_group(self._groups[name])

    def _open(self, group: Group) -> bool:
        full = group.concurrency is not None and self._running.get(group.name, 0) >= group.concurrency
        return not (full or group.paused_at is not None or (group.rate is not None and group.next_at > self._tx.now))
