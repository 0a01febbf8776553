"""Money: what was spent, and what something would cost."""

from __future__ import annotations

import falcon

from ..core.intake import IntakeContext
from ..services import Relay
from ..services.bulk import parse_time_or_age
from ..services.estimates import estimate_body
from .auth import Caller
from .request_bodies import Bodies


class Cost:
    """`GET /api/cost?by=&since=&owner=`: the admin sees what all have spent, a key what it has spent itself."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        owner = req.get_param("owner") if caller.sees_all else caller.owner
        since = parse_time_or_age("since", req.get_param("since"))
        resp.media = self._relay.queries.cost(by=req.get_param("by") or "day", since=since, owner=owner)


class Estimate:
    """`POST /api/estimate`: the body of a submit; nothing is kept, nothing is run, and nobody elsewhere is asked."""

    def __init__(self, relay: Relay, bodies: Bodies, defaults: IntakeContext) -> None:
        self._relay, self._bodies, self._defaults = relay, bodies, defaults

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        body, form = self._bodies.object(req)
        resp.media = estimate_body(self._relay, body, self._defaults, owner=caller.owner, form=form)
