"""Adds the dashboard to the Falcon app."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import falcon

from ..api.auth import KeyVerifier
from ..config import Settings
from ..core.intake import IntakeContext
from ..errors import NotFound
from ..services import Relay
from .job import JobDetails, JobFile, RawText
from .jobs import Jobs
from .login import Login, Logout
from .overview import Overview
from .site import Page, Site, Visit

#: Every page, by its path.
PAGES: dict[str, type[Page]] = {
    "/dashboard": Overview,
    "/dashboard/jobs": Jobs,
    "/dashboard/jobs/{request_id}": JobDetails,
    "/dashboard/jobs/{request_id}/files/{number}": JobFile,
    "/dashboard/jobs/{request_id}/raw/{part}": RawText,
}


def mount(
    app: falcon.App[Any, Any],
    relay: Relay,
    settings: Settings,
    *,
    intake: IntakeContext,
    verifier: KeyVerifier,
    clock: Callable[[], float] = time.time,
) -> Callable[[falcon.Request], bool]:
    """Add every page; returns the check whether a request has a session, which its body limit depends on."""
    site = Site(relay, settings, intake=intake, verifier=verifier, clock=clock)
    app.add_route("/dashboard/login", Login(site))
    app.add_route("/dashboard/logout", Logout(site))
    app.add_route("/dashboard/static/{name}", site.static)
    for path, page in PAGES.items():
        app.add_route(path, page(site))
    missing = Missing(site)
    app.add_sink(missing.answer, "/dashboard/")

    return site.has_session


class Missing(Page):
    """Any other path below /dashboard."""

    def answer(self, req: falcon.Request, resp: falcon.Response, **names: str) -> None:
        """Answer 404, or ask for a login."""
        self.site.serve(self.get, req, resp, {})

    def get(self, visit: Visit, **names: str) -> None:
        raise NotFound("There is no such page.")
