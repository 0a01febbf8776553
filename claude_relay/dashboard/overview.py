"""The first page: what needs a person, the figures, the calls in flight, and the workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.jobs.job import State
from ..core.jobs.job_filter import JobFilter
from ..core.keys import Scope
from .needs import (
    Need,
    by_urgency,
    describe_alert,
    describe_limits,
    describe_spend,
    describe_stops,
    describe_workers,
    spent_owners,
)
from .plots import buckets, plots
from .site import HOME, Page, Visit, unknown_act

#: Seconds of the figures over time.
_DAY = 86_400.0
#: Jobs that are counted for a key of its own.
_COUNTED = 100


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
            needs = by_urgency([*self._stops(state), *self._left_over(state, rows)])
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

    def _stops(self, state: Mapping[str, Any]) -> list[Need]:
        """Stops of jobs or callbacks, and spend that runs away."""
        alerts = self.relay.alerts.current(settings=self.site.settings.models())
        waiting = {owner: self.relay.dashboard.counts(owner=owner)[State.QUEUED] for owner in spent_owners(state)}

        return [
            *map(describe_alert, alerts),
            *describe_workers(state["workers"], waiting=state["jobs"]["queued"], alerts=alerts),
            *describe_stops(state, waiting),
            *describe_spend(self.relay.dashboard.runaways()),
            *describe_limits(self.relay.dashboard.groups(), self.site.clock()),
        ]

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
