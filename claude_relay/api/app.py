"""The table of contents of the HTTP side."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

import falcon

from ..config import Settings
from ..core.intake import IntakeContext
from ..services import Relay
from . import error_handlers
from .ack import Ack
from .auth import KeyVerifier, StoredKeys
from .cost import Cost, Estimate
from .groups import Groups
from .health import Health, Ready
from .jobs import JobActions, JobDetails, Jobs, Redeliver, Result, Status
from .middleware import Authentication, ResponseHeaders
from .overview import EventFeed as WholeMoves
from .overview import Overview
from .prefer_wait import WaitSlots
from .request_bodies import Bodies
from .submit import Submit, SubmitBulk

#: Every address and what can be done there: read by the router below, by the documentation and by its test.
ROUTES: Mapping[str, tuple[str, ...]] = {
    "/api/claude": ("POST",),
    "/api/claude/bulk": ("POST",),
    "/api/estimate": ("POST",),
    "/api/status/{requestId}": ("GET",),
    "/api/result/{requestId}": ("GET",),
    "/api/jobs": ("GET",),
    "/api/jobs/{requestId}": ("GET",),
    "/api/jobs/{requestId}/cancel": ("POST",),
    "/api/jobs/{requestId}/retry": ("POST",),
    "/api/jobs/{requestId}/redeliver": ("POST",),
    "/api/redeliver": ("POST",),
    "/api/groups/{group}": ("GET", "POST"),
    "/api/groups/{group}/pause": ("POST",),
    "/api/groups/{group}/resume": ("POST",),
    "/api/cost": ("GET",),
    "/api/overview": ("GET",),
    "/api/moves": ("GET",),
    "/api/pause": ("POST",),
    "/api/resume": ("POST",),
    "/ack/{token}": ("GET", "POST"),
    "/health": ("GET",),
    "/health/ready": ("GET",),
}

#: Where a GET is more than a look, or has no end.
_GET_ACTS = ("/ack/{token}", "/api/events", "/api/jobs/{requestId}/events")


def make_app(
    relay: Relay,
    settings: Settings,
    *,
    defaults: IntakeContext,
    authority: KeyVerifier | None = None,
    room: Callable[[], str | None] = lambda: None,
    leaving: threading.Event | None = None,
) -> falcon.App[Any, Any]:
    """
    The WSGI app.

    `defaults` is what a submission is held against, `authority` knows the keys, `room` says what is wrong with the
    disk. Once `leaving` is set, nobody waits here any longer.
    """
    keys = authority or StoredKeys(settings.api_secret_key or secrets.token_hex(), relay.keys)
    bodies = Bodies(settings.max_body)
    waiters = WaitSlots(relay, settings.streams, leaving or threading.Event())
    moves, groups = JobActions(relay, bodies, defaults), Groups(relay, bodies)
    whole, whole_moves = Overview(relay), WholeMoves(relay)

    app: falcon.App[Any, Any] = falcon.App(
        middleware=[ResponseHeaders(settings.allowed_origins), Authentication(keys, settings)]
    )
    app.req_options.strip_url_path_trailing_slash = True
    error_handlers.install(app)
    resources: dict[str, tuple[Any, str | None]] = {
        "/api/claude": (Submit(relay, bodies, defaults, waiters), None),
        "/api/claude/bulk": (SubmitBulk(relay, bodies, defaults), None),
        "/api/estimate": (Estimate(relay, bodies, defaults), None),
        "/api/status/{requestId}": (Status(relay), None),
        "/api/result/{requestId}": (Result(relay, waiters), None),
        "/api/jobs": (Jobs(relay), None),
        "/api/jobs/{requestId}": (JobDetails(relay), None),
        "/api/jobs/{requestId}/cancel": (moves, "cancel"),
        "/api/jobs/{requestId}/retry": (moves, "retry"),
        "/api/jobs/{requestId}/redeliver": (moves, "redeliver"),
        "/api/redeliver": (Redeliver(relay, bodies, defaults), None),
        "/api/groups/{group}": (groups, None),
        "/api/groups/{group}/pause": (groups, "pause"),
        "/api/groups/{group}/resume": (groups, "resume"),
        "/api/cost": (Cost(relay), None),
        "/api/overview": (whole, None),
        "/api/moves": (whole_moves, None),
        "/api/pause": (whole, "pause"),
        "/api/resume": (whole, "resume"),
        "/ack/{token}": (Ack(relay), None),
        "/health": (Health(settings.env), None),
        "/health/ready": (Ready(relay, room), None),
    }
    for path in ROUTES:
        resource, suffix = resources[path]
        _answer_head(path, resource)
        app.add_route(path.replace("{requestId}", "{request_id}"), resource, suffix=suffix)

    return app


def _answer_head(path: str, resource: Any) -> None:
    """HEAD wherever GET is, as HTTP has it; not where a GET does something, so that a link's preview does nothing."""
    if path not in _GET_ACTS and hasattr(resource, "on_get") and not hasattr(resource, "on_head"):
        resource.on_head = resource.on_get
