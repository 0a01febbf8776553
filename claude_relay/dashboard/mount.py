"""Adds the dashboard to the Falcon app."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import falcon

from ..api.auth import KeyVerifier
from ..api.event_streams import CollectionEvents, Events, JobEvents
from ..config import Settings
from ..core.intake import IntakeContext
from ..errors import NotFound
from ..events import Hub, Places
from ..services import Relay
from .collections import CollectionDetails, CollectionResults, Collections
from .destinations import Destinations
from .groups import Groups
from .job import JobDetails, JobFile, RawText
from .jobs import Jobs
from .keys import Keys
from .login import Login, Logout
from .money import Money, MoneyCsv
from .overview import Overview
from .site import Page, Site, Visit
from .templates_page import Templates
from .try_it import TryIt

#: Every page, by its path.
PAGES: dict[str, type[Page]] = {
    "/dashboard": Overview,
    "/dashboard/jobs": Jobs,
    "/dashboard/jobs/{request_id}": JobDetails,
    "/dashboard/jobs/{request_id}/files/{number}": JobFile,
    "/dashboard/jobs/{request_id}/raw/{part}": RawText,
    "/dashboard/collections": Collections,
    "/dashboard/collections/{collection_id}": CollectionDetails,
    "/dashboard/collections/{collection_id}/results": CollectionResults,
    "/dashboard/templates": Templates,
    "/dashboard/groups": Groups,
    "/dashboard/destinations": Destinations,
    "/dashboard/keys": Keys,
    "/dashboard/money": Money,
    "/dashboard/money/csv": MoneyCsv,
    "/dashboard/try": TryIt,
}


def mount(
    app: falcon.App[Any, Any],
    relay: Relay,
    settings: Settings,
    *,
    intake: IntakeContext,
    verifier: KeyVerifier,
    hub: Hub,
    clock: Callable[[], float] = time.time,
) -> Callable[[falcon.Request], bool]:
    """Add every page; returns the check whether a request has a session, which its body limit depends on."""
    site = Site(relay, settings, intake=intake, verifier=verifier, clock=clock)
    app.add_route("/dashboard/login", Login(site))
    app.add_route("/dashboard/logout", Logout(site))
    app.add_route("/dashboard/static/{name}", site.static)
    for path, page in PAGES.items():
        app.add_route(path, page(site))
    app.add_route("/dashboard/events", Stream(site, Events(relay, hub, Places.DASHBOARD)))
    app.add_route("/dashboard/jobs/{request_id}/events", Stream(site, JobEvents(relay, hub, Places.DASHBOARD)))
    rows = Stream(site, CollectionEvents(relay, hub, Places.DASHBOARD))
    app.add_route("/dashboard/collections/{collection_id}/events", rows)
    missing = Missing(site)
    app.add_sink(missing.answer, "/dashboard/")

    return site.has_session


class Stream(Page):
    """The API's event streams for the key of a session, as a browser sends no other."""

    def __init__(self, site: Site, events: Events | JobEvents | CollectionEvents) -> None:
        super().__init__(site)
        self._events = events

    def get(self, visit: Visit, **names: str) -> None:
        visit.req.context.caller = visit.caller
        self._events.on_get(visit.req, visit.resp, **names)


class Missing(Page):
    """Any other path below /dashboard."""

    def answer(self, req: falcon.Request, resp: falcon.Response, **names: str) -> None:
        """Answer 404, or ask for a login."""
        self.site.serve(self.get, req, resp, {})

    def get(self, visit: Visit, **names: str) -> None:
        raise NotFound("There is no such page.")
