"""Which jobs may be claimed just now: groups, families of models and budgets, counted while a claim goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from ..core.job import Job
from ..ports import Group, Unit

#: A start that comes up to so many seconds after its time shifts none of those after it.
_LATE = 0.25


@dataclass(frozen=True)
class Rooms:
    """How many more calls of each family would be made now; `other` of one that is not named (None: any number)."""

    known: Mapping[str, int] = field(default_factory=dict)
    other: int | None = None


class Gate:
    """Which groups and families may have one more, while a claim goes on."""

    def __init__(self, unit: Unit, rooms: Rooms, throttled: Collection[str]) -> None:
        self._unit = unit
        self._rooms, self._other = dict(rooms.known), rooms.other
        self.families = {name for name, room in rooms.known.items() if room <= 0} | set(throttled)
        self._running = unit.running_by_group()
        self._groups = {group.name: group for group in unit.groups()}
        self._moved: set[str] = set()
        self.shut = {group.name for group in self._groups.values() if not self._open(group)}

    def admits(self, job: Job) -> bool:
        """Whether the job's group and family take it; if so, it is counted."""
        room = self._rooms.get(job.family, self._other)
        if job.family in self.families:
            return False
        group = self._groups.get(job.group)
        if group is not None and not self._open(group):
            self.shut.add(group.name)
            return False
        if room is not None:
            self._rooms[job.family] = room - 1
            if room <= 1:
                self.families.add(job.family)
        if group is None:
            return True
        self._running[group.name] = self._running.get(group.name, 0) + 1
        if group.rate is not None:
            # Evenly spaced (GCRA without a burst): a minute's jobs never all start in its first second.
            now = self._unit.now
            late = now - group.next_at
            on = group.next_at if late < _LATE else now
            self._groups[group.name] = replace(group, next_at=on + 60.0 / group.rate)
            self._moved.add(group.name)
        return True

    def save(self) -> None:
        """Write down how far the rates have been used."""
        for name in self._moved:
            self._unit.save_group(self._groups[name])

    def _open(self, group: Group) -> bool:
        full = group.concurrency is not None and self._running.get(group.name, 0) >= group.concurrency
        return not (full or group.paused_at is not None or (group.rate is not None and group.next_at > self._unit.now))
