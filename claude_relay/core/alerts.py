"""
What an operator must hear of: which causes there are now, in words, with the command that mends each.

One alert a cause, however many jobs it touches. A cause that has ended and comes back is told again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from .deliveries.destination import Destination
from .wire import timestamp

#: Every kind of alert, and what it says: the README's table is held to this one.
KINDS: Mapping[str, str] = {
    "queue_parked": "Anthropic refuses the key or has reached a spend limit: no job runs until it works again",
    "delivery_dead": "callbacks to a destination were given up within the last hour",
    "destination_unhealthy": "a destination keeps failing; its callbacks wait for it",
    "disk_low": "less disk is free than RELAY_DISK_FLOOR: nothing is accepted any more",
    "no_worker": "no worker has been seen for a minute, though jobs wait or one had been there",
    "model_retiring": "a model that RELAY_MODEL or recent jobs name is retired within 30 days, or was",
}

#: Deaths further apart than this are not one cause, in seconds.
FAILURE_WAVE = 3600.0
#: A worker that was not seen for so long is not counted on; nor is anybody missed before he could have come.
WORKER_SILENCE = 60.0
#: How long before its last day a model is worth an alert.
NOTICE_DAYS = 30

#: How long a cause must be away before it is over, in seconds, where it comes and goes around an edge.
RESOLVE_AFTER: Mapping[str, float] = {"disk_low": 300.0, "destination_unhealthy": 300.0}

#: More destinations at once than these are one cause, which lies on this side as likely as not.
MULTIPLE = 5

#: Pauses between the tries to tell, in seconds; after the last one only the log has it.
REPEAT_AFTER = (60.0, 300.0, 1800.0, 7200.0)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One cause. `cause` is its name for comparison, `count` how many jobs or callbacks it touches."""

    cause: str
    kind: str
    message: str
    since: float
    count: int
    command: str


@dataclass(frozen=True, kw_only=True)
class DeadDeliveries:
    """Callbacks to one destination that were given up lately."""

    destination: str
    count: int
    since: float
    last: str


@dataclass(frozen=True, kw_only=True)
class ModelUsage:
    """A model that is asked: by how many of the latest jobs, or by which setting; its last day and who may follow."""

    model: str
    last_day: str
    jobs: int = 0
    setting: str | None = None
    successor: str | None = None


@dataclass(frozen=True, kw_only=True)
class AlertFacts:
    """All that the rules look at."""

    now: float
    uptime: float  # how long this process has been looking on
    waiting: int = 0
    parked: tuple[str, float] | None = None  # reason, since
    slowed_destinations: Sequence[tuple[Destination, int]] = ()  # and how many wait for it
    dead_deliveries: Sequence[DeadDeliveries] = ()
    disk: str | None = None
    workers_seen: Sequence[float] = ()
    overdue_since: float | None = None  # work that could be done waits since then
    models: Sequence[ModelUsage] = field(default=())
    previous: Collection[str] = ()  # the causes that were raised


def evaluate(facts: AlertFacts) -> list[Alert]:
    """Every cause there is."""
    found = [_parked(facts), _disk(facts), _worker(facts)]
    found += _some(
        [_unhealthy(known, waiting) for known, waiting in facts.slowed_destinations], "keep failing", facts.previous
    )
    found += _some([_died(one) for one in facts.dead_deliveries], "had callbacks given up", facts.previous)
    found += [_retiring(facts, used) for used in facts.models]

    return [alert for alert in found if alert is not None]


def body(alert: Alert, *, now: float) -> dict[str, Any]:
    """What RELAY_ALERT_URL gets."""
    return {
        "alert": alert.kind,
        "message": alert.message,
        "since": timestamp(alert.since),
        "count": alert.count,
        "command": alert.command,
        "cause": alert.cause,
        "timestamp": timestamp(now),
    }


def is_handled(now: float, workers_seen: Iterable[float]) -> bool:
    """Whether a worker is there to be counted on."""
    return any(now - seen < WORKER_SILENCE for seen in workers_seen)


def repeat_at(tries: int) -> float | None:
    """Seconds until the next try after so many; None: that was the last."""
    return REPEAT_AFTER[tries - 1] if tries <= len(REPEAT_AFTER) else None


def _some(alerts: Sequence[Alert], what: str, told: Collection[str]) -> list[Alert]:
    """
    One by one while they are few; those beyond as one, so that an outage of ours is not told a thousand times.

    Those that were told by name stay what they are.
    """
    if len(alerts) <= MULTIPLE:
        return list(alerts)
    named = [alert for alert in alerts if alert.cause in told]
    others = [alert for alert in alerts if alert.cause not in told]
    if not others:
        return named
    first = min(others, key=lambda alert: alert.since)
    count = sum(alert.count for alert in others)
    hosts = ", ".join(alert.cause.partition(" ")[2] for alert in others[:3])
    many = Alert(
        cause=f"{first.kind} several",
        kind=first.kind,
        message=f"{len(others)} destinations {what} since {timestamp(first.since)} ({hosts} and more): {count} "
        f"callbacks are touched, nothing is lost. So many at once may well be this machine's own network.",
        since=first.since,
        count=count,
        command="claude-relay doctor",
    )

    return [*named, many]


def _parked(facts: AlertFacts) -> Alert | None:
    if facts.parked is None:
        return None
    reason, since = facts.parked
    message = f"The queue is parked ({reason}) since {timestamp(since)}: {facts.waiting} jobs wait, nothing is lost."

    return Alert(
        cause="queue_parked",
        kind="queue_parked",
        message=message,
        since=since,
        count=facts.waiting,
        command="claude-relay resume",
    )


def _disk(facts: AlertFacts) -> Alert | None:
    if facts.disk is None:
        return None
    message = f"The disk {facts.disk}. Nothing is accepted until then; {facts.waiting} jobs that were go on."

    return Alert(
        cause="disk_low",
        kind="disk_low",
        message=message,
        since=facts.now,
        count=facts.waiting,
        command="claude-relay purge",
    )


def _worker(facts: AlertFacts) -> Alert | None:
    if is_handled(facts.now, facts.workers_seen):
        return None
    if facts.uptime < WORKER_SILENCE and "no_worker" not in facts.previous:
        return None  # whoever has looked on for longer may have missed him already: that stands
    overdue = facts.overdue_since is not None and facts.now - facts.overdue_since >= WORKER_SILENCE
    if not overdue and not facts.workers_seen:
        return None  # nobody was there, and nobody is missed
    since = max(facts.workers_seen, default=facts.overdue_since or facts.now)
    message = f"No worker has been seen since {timestamp(since)}: {facts.waiting} jobs wait, and no callback goes out."

    return Alert(
        cause="no_worker",
        kind="no_worker",
        message=message,
        since=since,
        count=facts.waiting,
        command="claude-relay worker  # under systemd: systemctl restart claude-relay-worker",
    )


def _unhealthy(known: Destination, waiting: int) -> Alert:
    since = known.failing_since or known.slowed_at or 0.0
    message = (
        f"{known.name} keeps failing since {timestamp(since)} ({known.last_error}; {known.failures} times in a row): "
        f"{waiting} callbacks wait for it, nothing is lost, and it is tried again by itself."
    )

    return Alert(
        cause=f"destination_unhealthy {known.name}",
        kind="destination_unhealthy",
        message=message,
        since=since,
        count=waiting,
        command="claude-relay status",
    )


def _died(one: DeadDeliveries) -> Alert:
    host = one.destination.partition("://")[2]
    message = (
        f"{one.count} callbacks to {one.destination} were given up since {timestamp(one.since)} "
        f"(the last: {one.last}). The results are kept, and free to send again."
    )

    return Alert(
        cause=f"delivery_dead {one.destination}",
        kind="delivery_dead",
        message=message,
        since=one.since,
        count=one.count,
        command=f"claude-relay redeliver --dead --host {host}",
    )


def _retiring(facts: AlertFacts, used: ModelUsage) -> Alert | None:
    left = (_day(used.last_day) - datetime.fromtimestamp(facts.now, tz=timezone.utc)).days
    if left > NOTICE_DAYS:
        return None
    who = f"{used.setting} names it" if used.setting else f"{used.jobs} of the latest jobs name it"
    when = f"is retired on {used.last_day}" if left >= 0 else f"was retired on {used.last_day}"
    heir = used.successor or "a model that stays"
    cure = f"set {used.setting} to {heir}" if used.setting else f"let the callers ask for {heir}"
    command = "claude-relay config show --origin" if used.setting else f"claude-relay search {used.model}"

    return Alert(
        cause=f"model_retiring {used.model}",
        kind="model_retiring",
        message=f"The model {used.model} {when}, and {who}: {cure}.",
        since=facts.now,
        count=used.jobs,
        command=command,
    )


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text[:10]).replace(tzinfo=timezone.utc)
