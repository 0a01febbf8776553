"""The needs of the first page: each cause with its reason, and the button that ends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any
from urllib.parse import urlencode

from ..core.alerts import Alert, jobs_wait
from ..core.jobs.holds import HoldKind, HoldScope
from ..core.keys import ADMIN
from ..core.lazy_dataclass import dataclass
from ..core.money.runaway import Runaway
from ..services import GroupLoad
from .rendering import age, money, plain_times
from .site import HOME

#: Causes of one kind that are shown one by one.
_MOST = 10
#: Holds that end by themselves.
_PASSING = {
    HoldKind.FAMILY: "Throttled: {}",
    HoldKind.BATCHES: "Batches wait",
    HoldKind.UNREACHABLE: "Anthropic cannot be reached",
}
_LEVELS = ("bad", "wait", "info")


@dataclass(frozen=True, kw_only=True)
class Act:
    """A button: the fields that it sends, and to which page."""

    label: str
    fields: Mapping[str, str] = field(default_factory=dict)
    path: str = HOME


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that needs a person: its reason, the command that fixes it, links, and forms."""

    level: str  # bad, wait or info
    title: str
    text: str
    command: str | None = None
    links: Sequence[tuple[str, str]] = ()
    acts: Sequence[Act] = ()


def by_urgency(needs: Sequence[Need]) -> list[Need]:
    """The worst first."""
    return sorted(needs, key=lambda need: _LEVELS.index(need.level))


def describe_alert(alert: Alert) -> Need:
    """An alert with its links, and a button in place of its command where there is one."""
    title, links, acts = alert.kind.replace("_", " ").capitalize(), [], []
    destination = alert.cause.partition(" ")[2]
    level = "bad"
    command: str | None = alert.command
    if alert.kind == "queue_parked":
        title, acts, command = "The queue is parked", [Act(label="Try now", fields={"act": "resume"})], None
    elif alert.kind == "delivery_dead" and destination != "several":
        path = f"/dashboard/jobs?{urlencode({'dead': 'true', 'host': destination.partition('://')[2]})}"
        title, links, command = f"{alert.count:,} given up: {destination}", [("See them", path)], None
        acts = [Act(label="Redeliver all (free)", fields={"act": "redeliver", "which": "all"}, path=path)]
    elif alert.kind == "destination_unhealthy" and destination != "several":
        title, command = f"Failing: {destination}", None
        links = [("Destinations", "/dashboard/destinations")]
        acts = [Act(label="Try now", fields={"resume": destination}, path="/dashboard/destinations")]
    elif alert.kind in ("delivery_dead", "destination_unhealthy"):
        title = f"{alert.count:,} callbacks to several destinations"
        links = [("Destinations", "/dashboard/destinations")]
    elif alert.kind == "no_worker":
        title = "No worker runs"
    elif alert.kind == "disk_low":
        title = "The disk is nearly full"
    elif alert.kind == "model_retiring":
        title, level = f"{destination} is being retired", "wait"
        links = [("Jobs that name it", f"/dashboard/jobs?{urlencode({'q': destination})}")]

    return Need(level=level, title=title, text=plain_times(alert.message), command=command, links=links, acts=acts)


def describe_workers(workers: Sequence[Mapping[str, Any]], *, waiting: int, alerts: Sequence[Alert]) -> list[Need]:
    """No worker at all, before its alert says so; or some that have ended without a word."""
    silent = [worker for worker in workers if not worker["alive"]]
    if len(silent) == len(workers):
        if any(alert.kind == "no_worker" for alert in alerts):
            return []
        text = (
            f"{jobs_wait(waiting)}, and no callback is sent until one runs." if waiting else "Jobs will wait for one."
        )
        level = "bad" if waiting else "wait"
        return [Need(level=level, title="No worker runs", text=text, command="claude-relay worker")]
    if not silent:
        return []
    names = ", ".join(f"process {worker['pid']} on {worker['host']}" for worker in silent[:_MOST])
    text = f"Not seen for a minute: {names}. Their calls are taken over by the {len(workers) - len(silent)} that run."
    title = "A worker is missing" if len(silent) == 1 else f"{len(silent)} workers are missing"
    command = "systemctl restart claude-relay-worker  # on that machine"

    return [Need(level="wait", title=title, text=text, command=command)]


def describe_limits(loads: Sequence[GroupLoad], now: float) -> list[Need]:
    """Groups whose own limit makes jobs wait for long, the longest wait first."""
    slow = [load for load in loads if load.backs_up(now)]
    slow.sort(key=lambda load: load.oldest_at or now)
    needs = []
    for load in slow[:_MOST]:
        group = load.group
        limit = (
            f"{load.running:,} of {group.concurrency:,} calls run" if load.full else f"{group.rate:g} start a minute"
        )
        wait = "" if load.oldest_at is None else f", the first of them for {age(now - load.oldest_at)}"
        verb = "waits" if load.waiting == 1 else "wait"
        path = f"/dashboard/groups?{urlencode({'edit': group.name})}"
        needs.append(
            Need(
                level="wait",
                title=f"Group {group.name} is at its limit",
                text=f"{limit}, and {load.waiting:,} of its jobs {verb}{wait}. Nothing else holds them back.",
                links=[("Change its limit", path)],
            )
        )
    if len(slow) > _MOST:
        title = f"{len(slow) - _MOST:,} more groups are at their limits"
        needs.append(Need(level="wait", title=title, text="Their jobs wait.", links=[("Groups", "/dashboard/groups")]))

    return needs


def describe_spend(runaways: Sequence[Runaway]) -> list[Need]:
    """Keys that spend more today than in the week before."""
    needs = []
    for each in runaways[:_MOST]:
        links = [("Its jobs", f"/dashboard/jobs?{urlencode({'key': each.key})}")]
        acts = []
        if each.key == ADMIN:
            links.append(("Who spends it", "/dashboard/money?by=group&since=1d"))
            acts = [Act(label="Pause the queue", fields={"act": "pause"})]
        else:
            links.append(("Set a budget", f"/dashboard/keys?{urlencode({'edit': each.key})}"))
        needs.append(
            Need(
                level="bad",
                title=f"Spend runs away: {each.key}",
                text=f"{money(each.today_usd)} today, and {money(each.week_usd)} in the seven days before."
                " No budget stops it.",
                links=links,
                acts=acts,
            )
        )

    return needs


def describe_stops(state: Mapping[str, Any], waiting: Mapping[str, int]) -> list[Need]:
    """A drain, pauses, spent budgets and throttled models; `waiting`: jobs of the keys whose budget is spent."""
    needs = []
    if drain := state["drain"]:
        calls = "1 call runs" if drain["running"] == 1 else f"{drain['running']:,} calls run"
        rest = (
            "Nothing runs any more: it can be stopped."
            if drain["idle"]
            else f"{calls}, and {jobs_wait(drain['waiting'])}."
        )
        text = f"Submits are answered with 503. {rest}"
        act = Act(label="Accept jobs again", fields={"act": "resume"})
        needs.append(Need(level="wait", title="The relay is being drained", text=text, acts=[act]))
    spent = stopped = 0
    for hold in state["holds"]:
        scope = HoldScope.parse(hold["scope"])
        until = f" until {hold['until'][:16].replace('T', ' ')} UTC" if hold["until"] else ""
        if scope.kind is HoldKind.PAUSE:
            act = Act(label="Resume", fields={"act": "resume"})
            needs.append(Need(level="wait", title="The queue is paused", text="No job starts.", acts=[act]))
        elif scope.kind is HoldKind.DESTINATION and (stopped := stopped + 1) <= _MOST:
            act = Act(label="Resume", fields={"resume": scope.name}, path="/dashboard/destinations")
            title, text = f"Callbacks to {scope.name} are paused", "They wait, and none is lost."
            needs.append(Need(level="wait", title=title, text=text, acts=[act]))
        elif scope.kind is HoldKind.BUDGET and (spent := spent + 1) <= _MOST:
            needs.append(_over_budget(scope.name, waiting.get(scope.name, 0), until))
        elif scope.kind in _PASSING:
            text = f"{hold['reason']}{until}. It goes on by itself."
            needs.append(Need(level="info", title=_PASSING[scope.kind].format(scope.name), text=text))
    if spent > _MOST:
        title = f"{spent - _MOST:,} more over budget"
        needs.append(Need(level="bad", title=title, text="Their jobs wait.", links=[("Keys", "/dashboard/keys")]))
    if stopped > _MOST:
        links = [("Destinations", "/dashboard/destinations")]
        title = f"Callbacks to {stopped - _MOST:,} more are paused"
        needs.append(Need(level="wait", title=title, text="They wait.", links=links))
    for group in state["paused"] if len(state["paused"]) <= _MOST else ():
        act = Act(label="Resume", fields={"act": "resume", "group": group})
        needs.append(Need(level="wait", title=f"Group {group} is paused", text="Its jobs wait.", acts=[act]))
    if (paused := len(state["paused"])) > _MOST:
        links = [("Groups", "/dashboard/groups")]
        needs.append(Need(level="wait", title=f"{paused:,} groups are paused", text="Their jobs wait.", links=links))

    return needs


def spent_owners(state: Mapping[str, Any]) -> list[str]:
    """The keys whose budget is spent, as many as are shown."""
    scopes = [HoldScope.parse(hold["scope"]) for hold in state["holds"]]

    return [scope.name for scope in scopes if scope.kind is HoldKind.BUDGET][:_MOST]


def _over_budget(key: str, waiting: int, until: str) -> Need:
    links = [("Change its budget", f"/dashboard/keys?{urlencode({'edit': key})}")]
    if not waiting:
        text = f"The daily budget of this key is spent, and none of its jobs waits. New ones would{until}."
        return Need(level="info", title=f"Over budget: {key}", text=text, links=links)
    path = f"/dashboard/jobs?{urlencode({'status': 'pending', 'key': key})}"
    text = f"{jobs_wait(waiting)}{until}: the daily budget of this key is spent. Calls that run are paid."

    return Need(level="bad", title=f"Over budget: {key}", text=text, links=[("Its jobs that wait", path), *links])
