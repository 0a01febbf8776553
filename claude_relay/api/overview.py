"""The complete relay: its state, its event feed, and its pause."""

from __future__ import annotations

import falcon

from ..core.intake.query import collected, parse_limit, raise_problems
from ..core.jobs.feed import Cursor
from ..errors import InvalidRequest, Problem
from ..services import Relay
from .auth import Caller
from .request_bodies import Bodies


class Overview:
    """`GET /api/overview`, `POST /api/pause`, `/api/drain` and `/api/resume`: for the admin key."""

    def __init__(self, relay: Relay, bodies: Bodies) -> None:
        self._relay, self._bodies = relay, bodies

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = self._relay.queries.overview()

    def on_post_pause(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._relay.pause()
        resp.media = self._relay.queries.overview()

    def on_post_drain(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = self._bodies.optional(req)
        problems = [Problem(field=name, problem="is not a field here") for name in body if name != "runWaiting"]
        run_waiting = body.get("runWaiting", False)
        if not isinstance(run_waiting, bool):
            problems.append(Problem(field="runWaiting", problem="must be true or false"))
        raise_problems(problems)
        self._relay.drain(run_waiting=run_waiting)
        resp.media = self._relay.queries.overview()

    def on_post_resume(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._relay.resume()
        resp.media = self._relay.queries.overview()


class EventFeed:
    """`GET /api/moves?cursor=&limit=`: events after the cursor, oldest first; without a cursor the latest."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        problems: list[Problem] = []
        cursor, limit = None, 100
        with collected(problems):
            cursor = _parse_cursor(req.get_param("cursor"))
        with collected(problems):
            limit = parse_limit(req.get_param("limit"), default=100)
        raise_problems(problems)
        owner = req.get_param("owner") if caller.sees_all else caller.owner
        events, last = self._relay.queries.events_after(cursor, limit=limit, owner=owner)
        position = Cursor(self._relay.event_feed.identity, last, ended=True)
        resp.media = {"moves": list(events), "cursor": last, "after": str(position)}


def _parse_cursor(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest.at("cursor", "must be a whole number")

    return int(text)
