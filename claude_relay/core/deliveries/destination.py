"""
A destination (scheme, host and port): whether it answers, and how fast its deliveries may go.

What keeps failing is slowed down as a whole: its deliveries wait while one at a time is sent to see whether it answers
again. Then the backlog follows, at a pace that does not knock it over once more. Nothing is dropped on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ..backoff import exponential
from .delivery import Delivery, Reply, ReplyClass, classify_reply
from .reply_text import describe_reply

#: POSTs at once to one destination, from all workers. A receiver of webhooks is seldom built for more.
MAX_CONCURRENT = 4

#: Failures in a row, of whatever deliveries, before a destination is slowed down.
FAILURES = 8

#: Seconds between two probes: doubling from the first to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

#: Deliveries a second to a destination that has just come back, until its backlog is through.
RECOVERY_RATE = 20.0

#: A delivery that has waited longer than its schedule is given up after its destination was silent for so long.
SLOW_AFTER = 3600.0


class HealthSignal(Enum):
    """What a reply says of the destination as a whole."""

    ALIVE = "alive"  # it answered, whatever it thinks of this one address
    FAILING = "failing"
    NONE = "none"  # the fault is on this side, or may be


@dataclass(frozen=True, kw_only=True)
class Destination:
    """One that has failed lately. Those that answer are not kept."""

    name: str
    failures: int = 0  # in a row
    failing_since: float | None = None
    slowed_at: float | None = None  # None: not (any more) slowed down
    probes: int = 0  # that failed since it was slowed down
    successes: int = 0  # answers in a row since it came back
    not_before: float = 0.0  # the next probe; or, once it is back, the next delivery
    last_error: str | None = None

    @property
    def slowed(self) -> bool:
        """Whether its deliveries wait for a probe."""
        return self.slowed_at is not None

    @property
    def recovering(self) -> bool:
        """Whether it has answered again and its backlog follows."""
        return self.successes > 0


@dataclass(frozen=True, kw_only=True)
class DueDestination:
    """What waits for one destination: since when the first is due, and how many are being sent."""

    destination: str
    due_at: float
    busy: int = 0


def health_signal(reply: Reply) -> HealthSignal:
    """A lookup that failed, a machine without a socket to spare: that says nothing of the receiver."""
    if reply.local_fault or reply.blocked:
        return HealthSignal.NONE

    return HealthSignal.FAILING if classify_reply(reply) is ReplyClass.RETRY else HealthSignal.ALIVE


def record_reply(
    known: Destination | None, name: str, reply: Reply, *, now: float, chance: float
) -> Destination | None:
    """What is known of a destination after one more reply; None: nothing that would have to be kept."""
    sign = health_signal(reply)
    if sign is HealthSignal.NONE:
        return known
    if sign is HealthSignal.ALIVE:
        if known is None or not (known.slowed or known.recovering):
            return None
        wins = known.successes + 1
        # An answer now and then, as by one address of many, does not end the trouble of the whole.
        since = None if wins >= FAILURES else known.failing_since
        return replace(known, failures=0, failing_since=since, slowed_at=None, successes=wins)

    before = known or Destination(name=name)
    after = replace(
        before,
        failures=before.failures + 1,
        failing_since=now if before.failing_since is None else before.failing_since,
        last_error=describe_reply(reply.status, reply.error),
    )
    if before.slowed:
        # One that was on its way before the slow-down is no probe.
        return after if now < before.not_before else _slowed(after, before.probes + 1, now=now, chance=chance)
    if before.recovering:
        # One address that still fails does not undo what many others have shown.
        undone = after.failures >= min(FAILURES, before.successes)
        return _slowed(after, before.probes, now=now, chance=chance) if undone else after

    return _slowed(after, 0, now=now, chance=chance) if after.failures >= FAILURES else after


def capacity(known: Destination | None, *, busy: int, now: float, at_once: int = MAX_CONCURRENT) -> int:
    """How many more may be sent to it now."""
    if known is None or not (known.slowed or known.recovering):
        return max(0, at_once - busy)
    if now < known.not_before:
        return 0
    if known.slowed:
        return 1 if busy == 0 else 0

    return max(0, min(at_once, known.successes) - busy)


def spend_pace(known: Destination, count: int, *, now: float) -> Destination:
    """After so many were claimed for one that has come back."""
    return replace(known, not_before=max(known.not_before, now) + count / RECOVERY_RATE)


def order_for_probe(due: Iterable[Delivery], failing: Mapping[str, int]) -> list[Delivery]:
    """
    Those that are due, the best to try a destination with first.

    A host may have an address for each of many scenarios, and one of them that always fails must not hide that the
    others would be answered: so first what goes to addresses of which nothing has failed (`failing`: how often
    something has, where that is not due yet). Of the same address the least tried, of the same the longest due.
    """
    due = list(due)
    worst = dict(failing)
    for one in due:
        worst[one.url] = max(worst.get(one.url, 0), one.schedule_index)

    return sorted(due, key=lambda one: (worst[one.url], one.schedule_index, one.due_at))


def probe_soon(known: Destination, *, now: float) -> Destination:
    """Someone wants something sent there, as it may have been mended: the next probe is not put off any longer."""
    return replace(known, not_before=min(known.not_before, now + FIRST_PAUSE)) if known.slowed else known


def allocate(
    dues: Sequence[DueDestination],
    known: Mapping[str, Destination],
    *,
    free: int,
    senders: int,
    now: float,
    at_once: int = MAX_CONCURRENT,
) -> dict[str, int]:
    """
    How many to claim for each destination, with so many of a worker's senders free.

    Dealt out one by one, the longest due first, so that none waits for another's backlog. When half of the senders
    are taken, each destination gets one at most: those that hang cannot take them all.
    """
    at_once = at_once if free > senders // 2 else 1
    rooms = {
        due.destination: capacity(known.get(due.destination), busy=due.busy, now=now, at_once=at_once)
        for due in sorted(dues, key=lambda due: due.due_at)
        if due.due_at <= now
    }
    dealt = dict.fromkeys(rooms, 0)
    while free > 0 and (open_ones := [name for name, left in rooms.items() if left > dealt[name]]):
        for name in open_ones[:free]:
            dealt[name] += 1
        free -= len(open_ones[:free])

    return {name: count for name, count in dealt.items() if count}


def next_check_at(dues: Sequence[DueDestination], known: Mapping[str, Destination]) -> float | None:
    """When something could be sent at the earliest; None where only the end of a POST makes room."""
    moments = [
        max(due.due_at, known[due.destination].not_before) if due.destination in known else due.due_at
        for due in dues
        if capacity(known.get(due.destination), busy=due.busy, now=float("inf"))
    ]

    return min(moments, default=None)


def may_expire(known: Destination, *, opened_at: float, schedule: Sequence[float], now: float) -> bool:
    """
    Whether a delivery has waited for a silent destination for longer than its schedule would have lasted.

    Without this a large backlog of a destination that never comes back would be probed for months.
    """
    if not known.slowed or known.failing_since is None:
        return False

    return now - known.failing_since >= SLOW_AFTER and now - opened_at >= max_wait(schedule)


def max_wait(schedule: Sequence[float]) -> float:
    """How long a delivery waits for a silent destination at most."""
    return max(SLOW_AFTER, lifetime(schedule))


def lifetime(schedule: Sequence[float]) -> float:
    """How long a schedule lasts, jitter and all."""
    return sum(schedule) * 1.2


def _slowed(known: Destination, probes: int, *, now: float, chance: float) -> Destination:
    # The first pause is short: what is restarted is back in a moment.
    pause = exponential(probes + 1, base=FIRST_PAUSE, cap=LONGEST_PAUSE, chance=chance)
    began = now if known.slowed_at is None else known.slowed_at

    return replace(known, slowed_at=began, probes=probes, successes=0, not_before=now + pause)
