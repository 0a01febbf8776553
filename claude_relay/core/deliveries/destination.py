"""
The health of a destination (scheme, host and port), and the pace of its deliveries.

A destination that keeps failing is slowed down as a whole: its deliveries wait while one at a time probes whether it
answers again. Then the backlog follows, at a pace that does not overload it once more. No delivery is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from types import MappingProxyType

from ..backoff import exponential
from ..lazy_dataclass import dataclass
from .delivery import Delivery, Reply, ReplyClass, classify_reply
from .reply_text import describe_reply

#: Concurrent POSTs to one destination, from all workers. A receiver of webhooks is seldom built for more.
MAX_CONCURRENT = 4

#: Deliveries that one worker leases together to a destination that answers at once, so that they share commits, if it
#: makes all POSTs there; otherwise as many for each of its own.
CLAIMED_AHEAD = 16

#: It answers at once: within these milliseconds, to bodies of at most these bytes, of which many may be in memory.
QUICK_REPLY, SMALL_BODY = 100, 65_536

#: Failures in a row, of any deliveries, before a destination is slowed down.
FAILURES = 8

#: Seconds between two probes: doubling from the first to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

#: Deliveries a second to a recovering destination, until its backlog is through.
RECOVERY_RATE = 20.0

#: Seconds for which a destination must be silent before deliveries that outlasted their schedule are given up.
SLOW_AFTER = 3600.0


class HealthSignal(Enum):
    """The meaning of a reply for the health of the destination."""

    ALIVE = "alive"  # it answered, even if it refused this one URL
    FAILING = "failing"
    NONE = "none"  # the fault is, or may be, on this side


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A destination that has failed lately. Healthy destinations have no row."""

    name: str
    failures: int = 0  # in a row
    failing_since: float | None = None
    slowed_at: float | None = None  # None: not slowed down (any more)
    probes: int = 0  # that failed since it was slowed down
    successes: int = 0  # replies in a row since it answered again
    not_before: float = 0.0  # the next probe; while it recovers, the next delivery
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
    """
    The due time of a destination's first waiting delivery, and the number of its deliveries being sent.

    `oldest`: the earliest due time of both.
    """

    destination: str
    due_at: float
    busy: int = 0
    oldest: float = float("-inf")


def health_signal(reply: Reply) -> HealthSignal:
    """Classify a reply; a failed DNS lookup or a machine out of sockets is no sign of the receiver."""
    if reply.local_fault or reply.blocked:
        return HealthSignal.NONE

    return HealthSignal.FAILING if classify_reply(reply) is ReplyClass.RETRY else HealthSignal.ALIVE


def is_quick(reply: Reply, *, body: int) -> bool:
    """Whether the destination accepted a body of so many bytes at once."""
    return classify_reply(reply) is ReplyClass.DELIVERED and reply.ms <= QUICK_REPLY and body <= SMALL_BODY


def record_reply(
    current: Destination | None, name: str, reply: Reply, *, now: float, chance: float
) -> Destination | None:
    """The state of a destination after one more reply; None: healthy, without a row."""
    signal = health_signal(reply)
    if signal is HealthSignal.NONE:
        return current
    if signal is HealthSignal.ALIVE:
        if current is None or not (current.slowed or current.recovering):
            return None
        successes = current.successes + 1
        # A reply now and then, as of one URL of many, does not end the outage of the destination.
        since = None if successes >= FAILURES else current.failing_since
        return replace(current, failures=0, failing_since=since, slowed_at=None, successes=successes)

    current = current or Destination(name=name)
    failed = replace(
        current,
        failures=current.failures + 1,
        failing_since=now if current.failing_since is None else current.failing_since,
        last_error=describe_reply(reply.status, reply.error),
    )
    if current.slowed:
        # A delivery that was being sent before the slow-down is no probe.
        return failed if now < current.not_before else _slow_down(failed, current.probes + 1, now=now, chance=chance)
    if current.recovering:
        # One URL that still fails does not undo the successes of many others.
        relapsed = failed.failures >= min(FAILURES, current.successes)
        return _slow_down(failed, current.probes, now=now, chance=chance) if relapsed else failed

    return _slow_down(failed, 0, now=now, chance=chance) if failed.failures >= FAILURES else failed


def capacity(destination: Destination | None, *, busy: int, now: float, at_once: int = MAX_CONCURRENT) -> int:
    """The number of further deliveries that may be sent to it now; None: a healthy destination."""
    if destination is None or not (destination.slowed or destination.recovering):
        return max(0, at_once - busy)
    if now < destination.not_before:
        return 0
    if destination.slowed:
        return 1 if busy == 0 else 0

    return max(0, min(at_once, destination.successes) - busy)


def spend_pace(destination: Destination, count: int, *, now: float) -> Destination:
    """A recovering destination after `count` deliveries were claimed."""
    return replace(destination, not_before=max(destination.not_before, now) + count / RECOVERY_RATE)


def order_for_probe(due: Iterable[Delivery], failing: Mapping[str, int]) -> list[Delivery]:
    """
    Due deliveries, the best to probe a destination with first.

    A host may have a URL for each of many scenarios, and one that always fails must not hide that the others would be
    answered: so URLs without a failure come first (`failing`: the failures of their deliveries that are not due yet).
    Of the same URL the least attempted delivery, of those the longest due.
    """
    due = list(due)
    worst = dict(failing)
    for delivery in due:
        worst[delivery.url] = max(worst.get(delivery.url, 0), delivery.schedule_index)

    return sorted(due, key=lambda item: (worst[item.url], item.schedule_index, item.due_at))


def probe_soon(destination: Destination, *, now: float) -> Destination:
    """A slowed destination with its next probe at most a second away, as a redelivery was requested."""
    if not destination.slowed:
        return destination

    return replace(destination, not_before=min(destination.not_before, now + FIRST_PAUSE))


def at_once_beside(*, busy: int, own: int) -> int:
    """The POSTs that a worker with `own` of `busy` leases may make at a time, as others send theirs."""
    return MAX_CONCURRENT - max(0, busy - own)


def allocate(
    dues: Sequence[DueDestination],
    failing: Mapping[str, Destination],
    *,
    free: int,
    senders: int,
    now: float,
    at_once: int = MAX_CONCURRENT,
    quick: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, int]:
    """
    The number of deliveries to claim for each destination, with `free` of a worker's senders.

    Senders are dealt out one by one, the longest due first, so that no destination waits for another's backlog. When
    half of the senders are busy, each destination gets one at most: a destination that hangs cannot take them all.

    `quick`: the destinations that answer this worker at once, each with the number of its leases there. It may lease
    more than `at_once_beside` others it sends at a time; others get none until few are left. So two workers that began
    together do not go on with one or two deliveries in each commit.
    """
    at_once = at_once if free > senders // 2 else 1

    def most(due: DueDestination) -> int:
        if at_once == 1 or due.destination not in quick:
            return at_once
        alongside = at_once_beside(busy=due.busy, own=quick[due.destination])
        return max(CLAIMED_AHEAD * alongside // MAX_CONCURRENT, at_once)

    capacities = {
        due.destination: capacity(failing.get(due.destination), busy=due.busy, now=now, at_once=most(due))
        for due in sorted(dues, key=lambda due: due.due_at)
        if due.due_at <= now
    }
    shares = dict.fromkeys(capacities, 0)
    while free > 0 and (unfilled := [name for name, limit in capacities.items() if limit > shares[name]]):
        for name in unfilled[:free]:
            shares[name] += 1
        free -= len(unfilled[:free])

    return {name: count for name, count in shares.items() if count}


def next_check_at(dues: Sequence[DueDestination], failing: Mapping[str, Destination]) -> float | None:
    """The earliest time at which a delivery could be sent; None where only the end of a POST frees capacity."""
    times = [
        max(due.due_at, failing[due.destination].not_before) if due.destination in failing else due.due_at
        for due in dues
        if capacity(failing.get(due.destination), busy=due.busy, now=float("inf"))
    ]

    return min(times, default=None)


def may_expire(destination: Destination, *, opened_at: float, schedule: Sequence[float], now: float) -> bool:
    """
    Whether a delivery has waited for a silent destination for longer than its schedule would have lasted.

    Without this limit, a large backlog of a destination that never answers again would be probed for months.
    """
    if not destination.slowed or destination.failing_since is None:
        return False

    return now - destination.failing_since >= SLOW_AFTER and now - opened_at >= max_wait(schedule)


def max_wait(schedule: Sequence[float]) -> float:
    """The longest wait of a delivery for a silent destination, in seconds."""
    return max(SLOW_AFTER, lifetime(schedule))


def lifetime(schedule: Sequence[float]) -> float:
    """The longest duration of a schedule, with all jitter."""
    return sum(schedule) * 1.2


def _slow_down(destination: Destination, probes: int, *, now: float, chance: float) -> Destination:
    # The first pause is short: a receiver that restarts is back in a moment.
    pause = exponential(probes + 1, base=FIRST_PAUSE, cap=LONGEST_PAUSE, chance=chance)
    began = now if destination.slowed_at is None else destination.slowed_at

    return replace(destination, slowed_at=began, probes=probes, successes=0, not_before=now + pause)
