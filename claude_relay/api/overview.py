"""The whole relay: how it stands, what moves, and its pause. For the admin key alone."""

from __future__ import annotations

import falcon

from ..errors import Forbidden, InvalidRequest, Problem
from ..services import Relay
from .auth import Caller


class Overview:
    """`GET /api/overview`."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        require_admin(req)
        resp.media = self._relay.queries.overview()

    def on_post_pause(self, req: falcon.Request, resp: falcon.Response) -> None:
        require_admin(req)
        self._relay.pause()
        resp.media = self._relay.queries.overview()

    def on_post_resume(self, req: falcon.Request, resp: falcon.Response) -> None:
        require_admin(req)
        self._relay.resume()
        resp.media = self._relay.queries.overview()


class EventFeed:
    """`GET /api/moves?cursor=&limit=`: what has moved since, oldest first; without a cursor the latest."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        cursor, limit = _number(req, "cursor"), _number(req, "limit")
        owner = req.get_param("owner") if caller.sees_all else caller.owner
        limit = 100 if limit is None else min(max(limit, 1), 500)
        moves, last = self._relay.queries.events_after(cursor, limit=limit, owner=owner)
        resp.media = {"moves": list(moves), "cursor": last}


def require_admin(req: falcon.Request) -> None:
    """Refuse everyone else."""
    caller: Caller = req.context.caller
    if not caller.sees_all:
        raise Forbidden("Only the admin key may do this: it concerns the jobs of all.")


def _number(req: falcon.Request, name: str) -> int | None:
    text = req.get_param(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(problems=[Problem(field=name, problem="must be a whole number")])

    return int(text)
