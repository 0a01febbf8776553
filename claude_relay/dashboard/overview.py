"""The first page: what needs a person, the figures, the calls in flight, and the workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from ..core.alerts import Alert
from ..core.jobs.holds import HoldKind, HoldScope
from ..core.jobs.job_filter import JobFilter
from ..core.keys import Scope
from .plots import buckets, plots
from .site import HOME, Page, Visit, unknown_act

#: Seconds of the figures over time.
_DAY = 86_400.0
#: Jobs that are counted for a key of its own.
_COUNTED = 100
#: Causes of one kind that are shown one by one.
_MOST = 10
#: Holds that end by themselves.
_PASSING = {
    HoldKind.FAMILY: "Throttled: {}",
    HoldKind.BATCHES: "Batches wait",
    HoldKind.UNREACHABLE: "Anthropic cannot be reached",
}


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something that needs a person: its reason, the command that fixes it, links, and forms."""

    level: str  # bad, wait or info
    title: str
    text: str
    command: str | None = None
    links: Sequence[tuple[str, str]] = ()
    acts: Sequence[Act] = ()


@dataclass(frozen=True, kw_only=True)
class Act:
    """A button: the fields that it sends, and to which page."""

    label: str
    fields: Mapping[str, str] = field(default_factory=dict)
    path: str = HOME


class Overview(Page):
    """`/dashboard`."""

    def get(self, visit: Visit, **names: str) -> None:
        history = self.relay.dashboard.history(seconds=_DAY, owner=visit.owner)
        rows, step = buckets(history)
        values: dict[str, Any] = {
            "history": history,
            "rows": [row for row in rows if row.completed or row.failed],
            "step": step,
            "plots": plots(rows),
            "calls": self.relay.dashboard.calls_in_flight(owner=visit.owner),
            "limit": self.relay.policy.call_timeout,
        }
        if visit.caller.sees_all:
            state = self.relay.queries.overview()
            needs = [*self._alerts(), *_stops(state), *self._left_over(state, rows)]
            visit.render("overview.html", "Overview", state=state, jobs=state["jobs"], needs=needs, **values)
        else:
            counts = self.relay.dashboard.counts(owner=visit.caller.owner)
            jobs = {state.value: count for state, count in counts.items()}
            visit.render("overview.html", "Overview", state=None, jobs=jobs, needs=self._own_needs(visit), **values)

    def post(self, visit: Visit, **names: str) -> None:
        act, group = visit.form.text("act"), visit.form.text("group") or None
        visit.require(Scope.ADMIN)
        if act == "resume":
            self.relay.resume(group)
            visit.redirect(HOME, f"Group {group} goes on." if group else "The queue goes on.")
        elif act == "pause":
            self.relay.pause(group)
            visit.redirect(HOME, f"Group {group} is paused." if group else "The queue is paused: running calls go on.")
        else:
            unknown_act(act)

    def _alerts(self) -> list[Need]:
        return [describe_alert(alert) for alert in self.relay.alerts.current(settings=self.site.settings.models())]

    def _left_over(self, state: Mapping[str, Any], rows: Sequence[Any]) -> list[Need]:
        """Results that were not applied, jobs that wait for a decision, and failures."""
        needs = []
        if held := self.relay.dashboard.held():
            needs.append(
                Need(
                    level="wait",
                    title=f"{held:,} held" if held < 1000 else "1,000 or more held",
                    text="A crash interrupted their calls, and onInterrupt is hold: a retry makes the call again.",
                    links=[("Decide", "/dashboard/jobs?status=held")],
                )
            )
        if state["unacked"]:
            needs.append(
                Need(
                    level="wait",
                    title=f"{state['unacked']:,} delivered and not applied",
                    text="Their webhooks were accepted, and their ackUrl was not called: look at the scenario's runs.",
                    links=[("See them", "/dashboard/jobs?unacked=true")],
                )
            )
        if failed := sum(row.failed for row in rows):
            needs.append(
                Need(
                    level="info",
                    title=f"{failed:,} failed in the time below",
                    text="Each has its error on its page; a retry makes the call again, which costs tokens.",
                    links=[("See them", "/dashboard/jobs?status=failed")],
                )
            )

        return needs

    def _own_needs(self, visit: Visit) -> list[Need]:
        needs = []
        for title, text, condition in (
            ("not delivered", "Their callbacks were given up. The results are kept; sending them is free.", "dead"),
            ("delivered and not applied", "Their ackUrl was not called.", "unacked"),
        ):
            dead = condition == "dead"
            which = JobFilter(owner=visit.owner, limit=_COUNTED, dead=dead, unacked=not dead)
            if count := len(self.relay.queries.jobs(which).jobs):
                more = " or more" if count == _COUNTED else ""
                link = ("See them", f"/dashboard/jobs?{condition}=true")
                needs.append(Need(level="bad", title=f"{count}{more} {title}", text=text, links=[link]))

        return needs


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
    elif alert.kind == "destination_unhealthy":
        title, command = f"Failing: {destination}", None
        links = [("Destinations", "/dashboard/destinations")]
    elif alert.kind == "no_worker":
        title = "No worker"
    elif alert.kind == "disk_low":
        title = "The disk is nearly full"
    elif alert.kind == "model_retiring":
        title, level = f"{destination} is being retired", "wait"
        links = [("Jobs that name it", f"/dashboard/jobs?{urlencode({'q': destination})}")]

    return Need(level=level, title=title, text=alert.message, command=command, links=links, acts=acts)


def _stops(state: Mapping[str, Any]) -> list[Need]:
    """A drain, pauses, spent budgets and throttled models."""
    needs = []
    if drain := state["drain"]:
        text = "Submits are answered with 503. " + (
            "Nothing runs any more: it can be stopped."
            if drain["idle"]
            else f"{drain['running']:,} calls run, and {drain['waiting']:,} jobs wait."
        )
        act = Act(label="Accept jobs again", fields={"act": "resume"})
        needs.append(Need(level="wait", title="The relay is being drained", text=text, acts=[act]))
    spent = 0
    for hold in state["holds"]:
        scope = HoldScope.parse(hold["scope"])
        until = f" until {hold['until'][:16].replace('T', ' ')} UTC" if hold["until"] else ""
        if scope.kind is HoldKind.PAUSE:
            act = Act(label="Resume", fields={"act": "resume"})
            needs.append(Need(level="wait", title="The queue is paused", text="No job starts.", acts=[act]))
        elif scope.kind is HoldKind.BUDGET and (spent := spent + 1) <= _MOST:
            text = f"Jobs of the key {scope.name} wait{until}: its daily budget is spent."
            links = [("Keys", "/dashboard/keys")]
            needs.append(Need(level="bad", title=f"Over budget: {scope.name}", text=text, links=links))
        elif scope.kind in _PASSING:
            text = f"{hold['reason']}{until}. It goes on by itself."
            needs.append(Need(level="info", title=_PASSING[scope.kind].format(scope.name), text=text))
    if spent > _MOST:
        links = [("Keys", "/dashboard/keys")]
        needs.append(
            Need(level="bad", title=f"{spent - _MOST:,} more over budget", text="Their jobs wait.", links=links)
        )
    for group in state["paused"] if len(state["paused"]) <= _MOST else ():
        act = Act(label="Resume", fields={"act": "resume", "group": group})
        needs.append(Need(level="wait", title=f"Group {group} is paused", text="Its jobs wait.", acts=[act]))

    if (paused := len(state["paused"])) > _MOST:
        links = [("Groups", "/dashboard/groups")]
        needs.append(Need(level="wait", title=f"{paused:,} groups are paused", text="Their jobs wait.", links=links))

    return needs
