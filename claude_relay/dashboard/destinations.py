"""Destinations of callbacks: health, backlog, pause, a sample, and a replay since a time."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from ..core.intake.query import parse_redeliver_url, parse_time_or_age
from ..core.jobs.job import State
from ..core.jobs.job_filter import JobFilter
from ..core.keys import Scope
from ..errors import InvalidRequest, Problem
from .acts import KINDS, MAX_JOBS
from .site import Page, Visit, job_path, unknown_act

_PATH = "/dashboard/destinations"
_ENDED = [state for state in State if state.final]


class Destinations(Page):
    """`/dashboard/destinations`."""

    needs = Scope.ADMIN
    typed = ("sample", "replay")

    def get(self, visit: Visit, **names: str) -> None:
        visit.render("destinations.html", "Destinations", loads=self.relay.dashboard.destinations())

    def post(self, visit: Visit, **names: str) -> None:
        form = visit.form
        if name := form.text("pause"):
            self.relay.destinations.pause(name)
            visit.redirect(_PATH, f"{name} is paused: its callbacks wait, and none is lost.")
        elif name := form.text("resume"):
            self.relay.destinations.resume(name)
            visit.redirect(_PATH, f"{name} is tried now.")
        elif form.text("act") == "sample":
            url = parse_redeliver_url(form.text("url"), self.site.intake.check_url)
            job = self.relay.destinations.send_sample(str(url), owner=visit.caller.owner)
            visit.redirect(job_path(job.request_id), "The sample is on its way: its answer appears below.")
        elif form.text("act") == "replay":
            self._ask_for_replay(visit, form.text("host"), form.text("since"))
        else:
            unknown_act(form.text("act"))

    def _ask_for_replay(self, visit: Visit, host: str, since: str) -> None:
        since_at = parse_time_or_age("since", since, now=self.site.clock())
        problems = [
            Problem(field=name, problem="is required")
            for name, value in (("host", host), ("since", since_at))
            if not value
        ]
        if problems:
            raise InvalidRequest(problems=problems)
        # The list page does it: all that match its filter, after its question.
        path = f"/dashboard/jobs?{urlencode({'status': 'completed,failed', 'host': host, 'since': since})}"
        which = JobFilter(host=host, since=since_at, states=_ENDED, limit=MAX_JOBS)
        jobs, cursor = self.relay.dashboard.matching(which)
        while not jobs and cursor is not None:  # a page ends after so many rows
            jobs, cursor = self.relay.dashboard.matching(replace(which, before=cursor))
        visit.render(
            "confirm.html",
            "Replay?",
            kind=KINDS["redeliver"],
            count=len(jobs),
            more=cursor is not None,
            most=MAX_JOBS,
            cost=None,
            examples=[job.request_id for job in jobs[:5]],
            ids=(),
            path=path,
            back=_PATH,
        )
