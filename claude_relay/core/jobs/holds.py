"""Queue holds: the stored reasons why all jobs, a model family, an owner or the batches do not start."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING

from ..lazy_dataclass import dataclass

if TYPE_CHECKING:
    from .job import Job


class HoldKind(str, Enum):
    """The part of the queue that a hold stops, and the first word of its stored scope."""

    PAUSE = "pause"  # the whole queue, by an operator
    DRAIN = "drain"  # no part of the queue: new jobs are refused
    PARK = "park"  # the whole queue: the API key is refused, or a spend limit is reached
    UNREACHABLE = "unreachable"  # all calls: no connection to Anthropic (the circuit breaker)
    BATCHES = "batches"  # creating batches is rate limited
    FAMILY = "family"  # one model family is rate limited or overloaded: `family:opus`
    BUDGET = "budget"  # one owner's daily budget is spent: `budget:NAME`
    DESTINATION = "destination"  # deliveries to one destination, by an operator: `destination:https://host`


_NAMED = (HoldKind.FAMILY, HoldKind.BUDGET, HoldKind.DESTINATION)


@dataclass(frozen=True)
class HoldScope:
    """A scope as a value; `str()` is its stored and public form."""

    kind: HoldKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}" if self.kind in _NAMED else self.kind.value

    @classmethod
    def parse(cls, text: str) -> HoldScope:
        """Read the stored form; raises `ValueError` for an unknown kind."""
        kind, _, name = text.partition(":")

        return cls(HoldKind(kind), name)

    @classmethod
    def family(cls, name: str) -> HoldScope:
        """The scope of one model family."""
        return cls(HoldKind.FAMILY, name)

    @classmethod
    def budget(cls, owner: str) -> HoldScope:
        """The scope of one owner's daily budget."""
        return cls(HoldKind.BUDGET, owner)

    @classmethod
    def destination(cls, name: str) -> HoldScope:
        """The scope of the deliveries to one destination."""
        return cls(HoldKind.DESTINATION, name)


PAUSE = HoldScope(HoldKind.PAUSE)
PARK = HoldScope(HoldKind.PARK)
DRAIN = HoldScope(HoldKind.DRAIN)
UNREACHABLE = HoldScope(HoldKind.UNREACHABLE)
BATCHES = HoldScope(HoldKind.BATCHES)

#: The scopes that stop the whole queue until they are released; default deadlines do not run meanwhile.
QUEUE_WIDE = (PAUSE, PARK)


@dataclass(frozen=True, kw_only=True)
class QueueHold:
    """A row that stops a part of the queue. `until` None: until it is released; `detail`: the upstream's own words."""

    scope: HoldScope
    reason: str
    since: float
    until: float | None = None
    detail: str = ""

    def in_force(self, now: float) -> bool:
        """Whether it still stops its part; a row that has run out stays until a probe succeeds."""
        return self.until is None or self.until > now


class Holds:
    """All holds at one moment, and the rules for which jobs and batches they stop."""

    def __init__(self, rows: Iterable[QueueHold], now: float) -> None:
        self._now = now
        self._by_scope = {hold.scope: hold for hold in rows}

    def get(self, scope: HoldScope) -> QueueHold | None:
        """The row of a scope, also one that has run out."""
        return self._by_scope.get(scope)

    def in_force(self, scope: HoldScope) -> QueueHold | None:
        """The row of a scope that stops its part now."""
        hold = self._by_scope.get(scope)

        return hold if hold is not None and hold.in_force(self._now) else None

    def of_kind(self, kind: HoldKind) -> dict[str, QueueHold]:
        """The rows of one kind by name (of the family, of the owner), also those that have run out."""
        return {scope.name: hold for scope, hold in self._by_scope.items() if scope.kind is kind}

    @property
    def queue_wide(self) -> list[QueueHold]:
        """A pause and a park; a park whose time has run out counts until its probe has succeeded."""
        return [hold for scope in QUEUE_WIDE if (hold := self._by_scope.get(scope)) is not None]

    @property
    def listed(self) -> list[QueueHold]:
        """The rows that an operator is shown: those in force, and a park that is being probed."""
        return [hold for hold in self._by_scope.values() if hold.in_force(self._now) or hold.scope == PARK]

    @property
    def throttled_families(self) -> set[str]:
        """Model families that are rate limited or overloaded now."""
        return {name for name, hold in self.of_kind(HoldKind.FAMILY).items() if hold.in_force(self._now)}

    @property
    def draining(self) -> bool:
        """Whether new jobs are refused."""
        return DRAIN in self._by_scope

    @property
    def probe_only(self) -> bool:
        """Whether only one job may start, to find out whether the key works or Anthropic can be reached again."""
        return PARK in self._by_scope or UNREACHABLE in self._by_scope

    @property
    def blocks_all(self) -> bool:
        """Whether no job and no batch may start."""
        return any(self.in_force(scope) for scope in (PAUSE, PARK, UNREACHABLE))

    @property
    def blocks_batches(self) -> bool:
        """Whether no batch may be sent."""
        return self.blocks_all or self.in_force(BATCHES) is not None

    def blocks_live(self, job: Job) -> bool:
        """Whether this job may not be called now."""
        return self.blocks_all or self.in_force(HoldScope.family(job.family)) is not None
