"""Costs: the spend so far, and an estimate for one request."""

from __future__ import annotations

from collections.abc import Callable

import falcon

from ..core.intake import IntakeContext
from ..core.intake.query import collected, parse_grouping, raise_problems
from ..core.jobs.job_filter import JobFilter
from ..errors import Problem
from ..services import Relay
from .auth import Caller
from .jobs import parse_filter
from .request_bodies import Bodies
from .scopes import check_body


class Cost:
    """`GET /api/cost?by=` and the filters of `GET /api/jobs`: the admin sees all spend, a key its own."""

    def __init__(self, relay: Relay, clock: Callable[[], float]) -> None:
        self._relay, self._clock = relay, clock

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        problems: list[Problem] = []
        which, by = JobFilter(), "day"
        with collected(problems):
            which = parse_filter(req, req.context.caller, now=self._clock())
        with collected(problems):
            by = parse_grouping(req.get_param("by") or "day")
        raise_problems(problems)
        resp.media = self._relay.queries.cost(by=by, which=which)


class Estimate:
    """`POST /api/estimate`: the body of a submit; nothing is stored or run, and no other service is called."""

    def __init__(self, relay: Relay, bodies: Bodies, intake: IntakeContext, clock: Callable[[], float]) -> None:
        self._relay, self._bodies, self._intake, self._clock = relay, bodies, intake, clock

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        body, form = self._bodies.object(req)
        check_body(caller, body)
        resp.media = self._relay.estimates.estimate(
            body, self._intake, now=self._clock(), owner=caller.owner, form=form
        )
