"""Money: what was spent."""

from __future__ import annotations

import falcon

from ..relay import Relay
from ..relay.asked import moment
from .auth import Caller


class Cost:
    """`GET /api/cost?by=&since=&owner=`: the admin sees what all have spent, a key what it has spent itself."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        owner = req.get_param("owner") if caller.sees_all else caller.owner
        since = moment("since", req.get_param("since"))
        resp.media = self._relay.read.cost(by=req.get_param("by") or "day", since=since, owner=owner)
