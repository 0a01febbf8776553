"""
Alert rules: the current causes that need an operator, each with a message and the command that fixes it.

There is one alert per cause, however many jobs it affects. A cause that ends and returns is reported again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .jobs import park
from .lazy_dataclass import dataclass
from .wire import timestamp

if TYPE_CHECKING:
    from .deliveries.destination import Destination

#: Every kind of alert with its meaning; a test compares the README's table with this one.
KINDS: Mapping[str, str] = {
    "queue_parked": "Anthropic refuses the key or has reached a spend limit: no job runs until it works again",
    "delivery_dead": "callbacks to a destination were given up within the last hour",
    "destination_unhealthy": "a destination keeps failing; its callbacks wait for it",
    "disk_low": "less disk is free than RELAY_DISK_FLOOR: nothing is accepted any more",
    "store_gone": "the store's file was removed, replaced or overwritten while in use: nothing is accepted",
    "store_away": "the store, such as a PostgreSQL server, does not answer: nothing is accepted and no job is started",
    "store_damaged": "stored content is not what was written, or the log's end is missing: it is not used and not sent",
    "no_api": "the API does not run: its port is taken, a secret is missing, or its settings are wrong",
    "no_worker": "no worker has been seen for a minute, though jobs wait or one had been there",
    "model_retiring": "a model that RELAY_MODEL or recent jobs name is retired within 30 days, or was",
    "collection_closed": "an open collection had no request for 24 hours, and was closed; sent once",
}

#: The end of each kind of cause, for its notice.
ENDED: Mapping[str, str] = {
    "queue_parked": "The queue is not parked any more: jobs run again.",
    "delivery_dead": "No callback to it was given up for an hour; those that were are kept (claude-relay list --dead).",
    "destination_unhealthy": "The destination is no longer slowed down: callbacks are sent to it as usual.",
    "disk_low": "Enough disk is free again: jobs are accepted.",
    "store_gone": "The store is back in its place: jobs are accepted again.",
    "store_away": "The store answers again: jobs are accepted and run.",
    "store_damaged": "Every stored digest was checked and matches: claude-relay doctor --deep.",
    "no_api": "The API runs again.",
    "no_worker": "A worker is running again, or there is nothing to do for one.",
    "model_retiring": "No setting and no recent job names the model any more.",
    "collection_closed": "The collection was closed.",
}

#: Dead deliveries further apart than this, in seconds, have different causes.
FAILURE_WAVE = 3600.0
#: A worker is considered dead after this many seconds without a heartbeat; no alert earlier than that after start.
WORKER_SILENCE = 60.0
#: An alert is raised this many days before the last day of a model.
NOTICE_DAYS = 30

#: How long a cause must be absent before it is resolved, in seconds, for causes that fluctuate around a threshold.
RESOLVE_AFTER: Mapping[str, float] = {"disk_low": 300.0, "destination_unhealthy": 300.0}

#: More failing destinations than this are one cause, which is probably local.
MULTIPLE = 5

#: Delays between attempts to send an alert, in seconds; after the last one it is only in the log.
REPEAT_AFTER = (60.0, 300.0, 1800.0, 7200.0)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One alert. `cause` identifies it, `count` is the number of jobs or callbacks affected."""

    cause: str
    kind: str
    message: str
    since: float
    count: int
    command: str


@dataclass(frozen=True, kw_only=True)
class DeadDeliveries:
    """Callbacks to one destination that died recently."""

    destination: str
    count: int
    since: float
    last: str


@dataclass(frozen=True, kw_only=True)
class ModelUsage:
    """A model in use by recent jobs or by a setting, with its last day and its successor."""

    model: str
    last_day: str
    jobs: int = 0
    setting: str | None = None
    successor: str | None = None


@dataclass(frozen=True, kw_only=True)
class AlertFacts:
    """The input of the rules."""

    now: float
    uptime: float  # of this process, in seconds
    waiting: int = 0
    parked: tuple[str, float] | None = None  # reason, since
    park_detail: str = ""  # in the upstream's words
    slowed_destinations: Sequence[tuple[Destination, int]] = ()  # with the number of waiting callbacks
    dead_deliveries: Sequence[DeadDeliveries] = ()
    disk: str | None = None
    damage: Mapping[str, Any] | None = None  # `core.damage`
    workers_seen: Sequence[float] = ()
    failed_apis: Sequence[tuple[str, float]] = ()  # machine, since
    overdue_since: float | None = None  # time since which work has been due
    models: Sequence[ModelUsage] = field(default=())
    previous: Collection[str] = ()  # causes that are already raised


def evaluate(facts: AlertFacts) -> list[Alert]:
    """All current alerts."""
    unhealthy = [_unhealthy(destination, waiting) for destination, waiting in facts.slowed_destinations]
    dead = [_dead(deliveries) for deliveries in facts.dead_deliveries]
    alerts = [_parked(facts), _disk(facts), _worker(facts)]
    alerts += _grouped(unhealthy, "keep failing", facts.previous)
    alerts += _grouped(dead, "had callbacks given up", facts.previous)
    alerts += [_damaged(facts.damage)] if facts.damage else []
    alerts += [_no_api(facts, host, since) for host, since in facts.failed_apis]
    alerts += [_retiring(facts, usage) for usage in facts.models]

    return [alert for alert in alerts if alert is not None]


def body(alert: Alert, *, now: float) -> dict[str, Any]:
    """The JSON body for RELAY_ALERT_URL."""
    return {
        "alert": alert.kind,
        "message": alert.message,
        "since": timestamp(alert.since),
        "count": alert.count,
        "command": alert.command,
        "cause": alert.cause,
        "timestamp": timestamp(now),
        "status": "open",
    }


def end_body(raised: Mapping[str, Any], *, now: float) -> dict[str, Any]:
    """The body of the notice that the cause of an alert has ended, by the alert's own body."""
    return {
        **raised,
        "message": f"Resolved: {ENDED[raised['alert']]} The alert was: {raised['message']}",
        "command": "claude-relay status",
        "timestamp": timestamp(now),
        "status": "resolved",
        "resolvedAt": timestamp(now),
    }


def store_gone(problem: str, *, since: float, command: str) -> Alert:
    """The alert for a store that is no longer at its path. It is not stored: there is nowhere to."""
    way = "stop them before it, not with kill -9, and start them after it"
    if not command.startswith("claude-relay "):  # it needs the files that the daemons have open
        way = "run it before a daemon is stopped or started; claude-relay doctor names what is left to do"
    brings = f"The command brings back what the daemons still have open; {way}."
    message = f"{problem}. No jobs are accepted, and none is started. {brings}"

    return Alert(cause="store_gone", kind="store_gone", message=message, since=since, count=0, command=command)


def collection_closed(collection_id: str, *, total: int, since: float) -> Alert:
    """The alert for an open collection whose client sent nothing for a day; it is sent once."""
    message = (
        f"The open collection {collection_id} had no request for 24 hours and was closed with {total} rows: its client "
        "may have stopped in the middle. Its callback follows when these rows have ended."
    )
    cause, command = f"collection_closed {collection_id}", f"claude-relay table status {collection_id}"

    return Alert(cause=cause, kind="collection_closed", message=message, since=since, count=total, command=command)


def store_away(error: str, *, since: float, host: str) -> Alert:
    """The alert for a store that does not answer. It is not stored either."""
    message = (
        f"The store does not answer to {host} since {timestamp(since)} ({error.rstrip('.')}). No job is accepted or "
        f"started; calls that run go on, and their answers wait for the store. Everything goes on once it answers."
    )

    return Alert(
        cause=f"store_away {host}",
        kind="store_away",
        message=message,
        since=since,
        count=0,
        command="claude-relay doctor",
    )


def is_handled(now: float, workers_seen: Iterable[float]) -> bool:
    """Whether a worker has sent a recent heartbeat."""
    return any(now - seen < WORKER_SILENCE for seen in workers_seen)


def repeat_at(attempts: int) -> float | None:
    """Seconds until the next attempt after that many; None after the last one."""
    return REPEAT_AFTER[attempts - 1] if attempts <= len(REPEAT_AFTER) else None


def _grouped(alerts: Sequence[Alert], problem: str, raised: Collection[str]) -> list[Alert]:
    """
    Single alerts while they are few, otherwise one for all.

    A local outage is then not reported a thousand times.

    Alerts that are already raised individually stay as they are.
    """
    if len(alerts) <= MULTIPLE:
        return list(alerts)
    individual = [alert for alert in alerts if alert.cause in raised]
    others = [alert for alert in alerts if alert.cause not in raised]
    if not others:
        return individual
    first = min(others, key=lambda alert: alert.since)
    count = sum(alert.count for alert in others)
    hosts = ", ".join(alert.cause.partition(" ")[2] for alert in others[:3])
    group = Alert(
        cause=f"{first.kind} several",
        kind=first.kind,
        message=f"{len(others)} destinations {problem} since {timestamp(first.since)} ({hosts} and more): {count:,} "
        f"callbacks are affected, nothing is lost. So many at once suggest a problem with this machine's own network.",
        since=first.since,
        count=count,
        command="claude-relay doctor",
    )

    return [*individual, group]


def _parked(facts: AlertFacts) -> Alert | None:
    if facts.parked is None:
        return None
    reason, since = facts.parked
    upstream = f" {facts.park_detail.rstrip('.')}." if facts.park_detail else ""
    message = (
        f"The queue is parked ({reason}) since {timestamp(since)}: {jobs_wait(facts.waiting)}, nothing is lost."
        f"{upstream} {park.cure_in_words(reason)}"
    )
    first = "once the worker runs with the new key" if reason == park.KEY_REFUSED else "once that is done"

    return Alert(
        cause="queue_parked",
        kind="queue_parked",
        message=message,
        since=since,
        count=facts.waiting,
        command=f"claude-relay resume  # {first}; claude-relay doctor names each step",
    )


def _disk(facts: AlertFacts) -> Alert | None:
    if facts.disk is None:
        return None
    message = f"The disk {facts.disk}. No jobs are accepted until then; {facts.waiting:,} accepted jobs continue."

    return Alert(
        cause="disk_low",
        kind="disk_low",
        message=message,
        since=facts.now,
        count=facts.waiting,
        command="claude-relay purge",
    )


def _damaged(note: Mapping[str, Any]) -> Alert:
    more = f" and {note['count'] - 1} more" if note["count"] > 1 else ""
    message = (
        f"The disk has changed stored content since {timestamp(note['since'])}: {note['what']}{more}. It is not used "
        f"and not sent; what it belongs to failed."
    )

    return Alert(
        cause="store_damaged",
        kind="store_damaged",
        message=message,
        since=note["since"],
        count=note["count"],
        command="claude-relay doctor --deep",
    )


def _worker(facts: AlertFacts) -> Alert | None:
    if is_handled(facts.now, facts.workers_seen):
        return None
    if facts.uptime < WORKER_SILENCE and "no_worker" not in facts.previous:
        return None  # an alert already raised by a process with a longer uptime stays
    overdue = facts.overdue_since is not None and facts.now - facts.overdue_since >= WORKER_SILENCE
    if not overdue and not facts.workers_seen:
        return None  # no worker ever ran, and nothing is due
    since = max(facts.workers_seen, default=facts.overdue_since or facts.now)
    message = (
        f"No worker has been seen since {timestamp(since)}: {jobs_wait(facts.waiting)}, and no callbacks are sent."
    )

    return Alert(
        cause="no_worker",
        kind="no_worker",
        message=message,
        since=since,
        count=facts.waiting,
        command="claude-relay worker  # under systemd: systemctl restart claude-relay-worker",
    )


def _no_api(facts: AlertFacts, host: str, since: float) -> Alert:
    message = (
        f"The API on {host} does not run since {timestamp(since)}: most likely its port is taken, API_SECRET_KEY is "
        f"missing or a setting is wrong. Callers get no answer; {facts.waiting:,} accepted jobs wait or go on."
    )

    return Alert(
        cause=f"no_api {host}",
        kind="no_api",
        message=message,
        since=since,
        count=facts.waiting,
        command="claude-relay doctor  # on that machine, as root; or: journalctl -u 'claude-relay-api*' -n 20",
    )


def _unhealthy(destination: Destination, waiting: int) -> Alert:
    since = destination.failing_since or destination.slowed_at or 0.0
    message = (
        f"{destination.name} keeps failing since {timestamp(since)} "
        f"({destination.last_error}; {destination.failures} times in a row): "
        f"{_callbacks(waiting)} {'waits' if waiting == 1 else 'wait'} for it, nothing is lost, and it is retried "
        "automatically."
    )

    return Alert(
        cause=f"destination_unhealthy {destination.name}",
        kind="destination_unhealthy",
        message=message,
        since=since,
        count=waiting,
        command="claude-relay status",
    )


def _dead(deliveries: DeadDeliveries) -> Alert:
    host, count = deliveries.destination.partition("://")[2], deliveries.count
    message = (
        f"{_callbacks(count)} to {deliveries.destination} {'was' if count == 1 else 'were'} given up since "
        f"{timestamp(deliveries.since)} (last error: {deliveries.last}). The results are kept and can be sent again "
        "at no cost."
    )

    return Alert(
        cause=f"delivery_dead {deliveries.destination}",
        kind="delivery_dead",
        message=message,
        since=deliveries.since,
        count=deliveries.count,
        command=f"claude-relay redeliver --dead --host {host}",
    )


def _retiring(facts: AlertFacts, usage: ModelUsage) -> Alert | None:
    left = (_day(usage.last_day) - datetime.fromtimestamp(facts.now, tz=timezone.utc)).days
    if left > NOTICE_DAYS:
        return None
    user = f"{usage.setting} names it" if usage.setting else f"{usage.jobs} of the latest jobs name it"
    when = f"will be retired on {usage.last_day}" if left >= 0 else f"was retired on {usage.last_day}"
    successor = usage.successor or "a current model"
    cure = f"set {usage.setting} to {successor}" if usage.setting else f"let the callers use {successor}"
    command = "claude-relay config show --origin" if usage.setting else f"claude-relay search {usage.model}"

    return Alert(
        cause=f"model_retiring {usage.model}",
        kind="model_retiring",
        message=f"The model {usage.model} {when}, and {user}: {cure}.",
        since=facts.now,
        count=usage.jobs,
        command=command,
    )


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text[:10]).replace(tzinfo=timezone.utc)


def jobs_wait(waiting: int) -> str:
    """The number of waiting jobs, with the verb in its form."""
    return "1 job waits" if waiting == 1 else f"{waiting:,} jobs wait"


def _callbacks(count: int) -> str:
    return "1 callback" if count == 1 else f"{count:,} callbacks"
