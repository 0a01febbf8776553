"""
Fair queueing between keys: flows, the order of their starts, and shares of a full queue.

Start-time fair queueing: each share of the queue (a key's single jobs, or one collection) has a tag, the virtual time
of its next start, and the lowest tag is next. A start moves the tag ahead by the inverse of the weight. A share that
begins to wait starts at the present virtual time: time without jobs is not saved up. A key whose running calls already
fill its part of the slots comes after the others, so that keys with long and with short calls get as many slots.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..lazy_dataclass import dataclass

#: The weight of a key that none was set for, and the limits of one.
DEFAULT_WEIGHT = 1.0
WEIGHTS = (0.01, 100.0)
#: The name under which the present virtual time is kept beside the tags.
VIRTUAL_TIME = ""


class Flow(NamedTuple):
    """
    Jobs that are claimed in the order of their rank. Its text is a column of the job.

    Group and family are part of it, so that one without capacity is left out without a look at its jobs.
    """

    owner: str
    collection: str  # empty: the key's single jobs
    group: str
    family: str

    def __str__(self) -> str:
        return "/".join(self)

    @classmethod
    def parse(cls, text: str) -> Flow:
        """Read the stored text: of its parts only the family may hold a slash."""
        return cls(*text.split("/", 3))

    @property
    def share(self) -> str:
        """The share of the queue that this flow belongs to."""
        return f"{self.owner}/{self.collection}"


@dataclass(frozen=True, kw_only=True)
class WaitingFlow:
    """A flow with due jobs; `rank` is that of the first one."""

    flow: Flow
    rank: float


class FairQueue:
    """The tags of the shares, and the running calls of each key, while a claim goes on."""

    def __init__(
        self, tags: Mapping[str, float], *, weights: Mapping[str, float], running: Mapping[str, int], slots: int
    ) -> None:
        """`running`: calls by owner; `slots`: how many calls there may be in all."""
        self._tags, self._weights, self._slots = dict(tags), weights, slots
        self._running = dict(running)
        self._costs: dict[str, float] = {}
        self._changed: set[str] = set()

    @property
    def changed(self) -> Mapping[str, float]:
        """The tags to store."""
        return {name: self._tags[name] for name in self._changed}

    def turns(self, waiting: Collection[WaitingFlow], limit: int) -> Sequence[str]:
        """The shares of the next starts in order, one name for each start."""
        ranks: dict[str, float] = {}
        for item in waiting:
            ranks[item.flow.share] = min(item.rank, ranks.get(item.flow.share, item.rank))
        if len(ranks) == 1:
            self._costs = {}
            return list(ranks) * limit
        owners = Counter(map(_owner, ranks))
        slots = {owner: self._slots * proportion for owner, proportion in proportions(owners, self._weights).items()}
        self._costs = {share: owners[_owner(share)] / weight(self._weights, _owner(share)) for share in ranks}

        ahead = copy.deepcopy(self)
        turns = []
        for _ in range(limit):
            full = {owner for owner in owners if ahead._running.get(owner, 0) >= slots[owner]}
            share = min(ranks, key=lambda name: (_owner(name) in full, ahead._start(name), ranks[name], name))
            ahead.count_start(share)
            turns.append(share)

        return turns

    def count_start(self, share: str) -> None:
        """Count a start of that share: without another share that waits, tags stay as they are."""
        owner = _owner(share)
        self._running[owner] = self._running.get(owner, 0) + 1
        if share in self._costs:
            start = self._start(share)
            self._tags |= {VIRTUAL_TIME: start, share: start + self._costs[share]}
            self._changed |= {VIRTUAL_TIME, share}

    def _start(self, share: str) -> float:
        return max(self._tags.get(share, 0.0), self._tags.get(VIRTUAL_TIME, 0.0))


def count_by(part: str, counts: Mapping[Flow, int]) -> Counter[str]:
    """The sums of those counts by one part of their flows."""
    sums: Counter[str] = Counter()
    for flow, count in counts.items():
        sums[getattr(flow, part)] += count

    return sums


def proportions(owners: Collection[str], weights: Mapping[str, float]) -> dict[str, float]:
    """The part of the whole that each of those owners may have, by weight."""
    total = sum(weight(weights, owner) for owner in owners)

    return {owner: weight(weights, owner) / total for owner in owners}


def weight(weights: Mapping[str, float], owner: str) -> float:
    """The weight of that owner: the admin, and keys without one, have the default."""
    return weights.get(owner, DEFAULT_WEIGHT)


def queue_share(limit: int, owner: str, waiting: Mapping[str, int], weights: Mapping[str, float]) -> int:
    """
    The number of jobs that `owner` may have in a full queue, beside the owners in `waiting`.

    A key alone may fill the queue. Others then still get their shares, by which the queue grows beyond its bound.
    """
    return max(1, int(limit * proportions({owner, *waiting}, weights)[owner]))


def _owner(share: str) -> str:
    return share.partition("/")[0]
