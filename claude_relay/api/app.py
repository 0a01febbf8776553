"""The WSGI app: routes and their resources."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from json import JSONEncoder
from typing import Any

import falcon
from falcon.media import JSONHandler

from ..config import Settings
from ..core.intake import IntakeContext
from ..events import Hub
from ..ports import NoTracer, TextSource, Tracer
from ..services import Relay
from . import error_handlers
from .ack import Ack
from .auth import KeyVerifier, StoredKeys
from .collections import CollectionByName, Collections
from .cost import Cost, Estimate
from .documents import Docs, Home, OpenApi
from .event_streams import CollectionEvents, Events, JobEvents
from .groups import Groups
from .health import Health, Ready
from .jobs import JobActions, JobDetails, Jobs, Redeliver, Result, Status
from .metrics import AcceptTimer, Metrics
from .middleware import Authentication, Response, ResponseHeaders, falcon_path
from .overview import EventFeed, Overview
from .prefer_wait import MAX_WAITERS, WaitSlots
from .request_bodies import Bodies
from .submit import Submit, SubmitBulk
from .templates import TemplateByName, Templates

#: Every path and its methods: used by the router below, by the documentation and by its test.
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
    "/api/jobs/{requestId}/events": ("GET",),
    "/api/events": ("GET",),
    "/api/redeliver": ("POST",),
    "/api/templates": ("GET",),
    "/api/templates/{name}": ("GET", "PUT", "DELETE"),
    "/api/collections": ("GET", "POST"),
    "/api/collections/{collectionId}": ("GET",),
    "/api/collections/{collectionId}/rows": ("POST",),
    "/api/collections/{collectionId}/close": ("POST",),
    "/api/collections/{collectionId}/results": ("GET",),
    "/api/collections/{collectionId}/events": ("GET",),
    "/api/collections/{collectionId}/cancel": ("POST",),
    "/api/collections/{collectionId}/retry": ("POST",),
    "/api/collections/{collectionId}/redeliver": ("POST",),
    "/api/groups/{group}": ("GET", "POST"),
    "/api/groups/{group}/pause": ("POST",),
    "/api/groups/{group}/resume": ("POST",),
    "/api/cost": ("GET",),
    "/api/overview": ("GET",),
    "/api/moves": ("GET",),
    "/api/pause": ("POST",),
    "/api/drain": ("POST",),
    "/api/resume": ("POST",),
    "/ack/{token}": ("GET", "POST"),
    "/health": ("GET",),
    "/health/ready": ("GET",),
    "/metrics": ("GET",),
    "/": ("GET",),
    "/openapi.json": ("GET",),
    "/docs": ("GET",),
    "/docs/style.css": ("GET",),
    "/dashboard": ("GET",),
}

#: Adds the pages of the dashboard, and returns the check whether a request is logged in.
MountDashboard = Callable[["falcon.App[Any, Any]", KeyVerifier, Hub], Callable[[falcon.Request], bool]]
#: Event streams of open dashboards, which are counted apart.
_DASHBOARD_STREAMS = 32

#: Paths where a GET has an effect, so that HEAD is not offered.
_NO_HEAD = ("/ack/{token}",)


def make_app(
    relay: Relay,
    settings: Settings,
    *,
    intake: IntakeContext,
    verifier: KeyVerifier | None = None,
    disk_problem: Callable[[], str | None] = lambda: None,
    stopping: threading.Event | None = None,
    texts: TextSource | None = None,
    tracer: Tracer | None = None,
    clock: Callable[[], float] = time.time,
    dashboard: MountDashboard | None = None,
) -> falcon.App[Any, Any]:
    """
    Build the WSGI app.

    `disk_problem` returns a fault of the disk, or None. Once `stopping` is set, waiting requests return at once and
    streams end. `texts` brings the text of running calls before it is stored. `dashboard` adds its pages; without it
    there are none.
    """
    # The complete text counts, too: scripts send $API_SECRET_KEY, and an old key may contain a comma.
    admin_keys = dict.fromkeys((*settings.admin_keys, settings.api_secret_key or secrets.token_hex()))
    keys = verifier or StoredKeys(tuple(admin_keys), relay.keys)
    bodies = Bodies(settings.max_body)
    stopping = stopping or threading.Event()
    wait_slots = WaitSlots(relay, MAX_WAITERS, stopping)
    timer, tracer = AcceptTimer(), tracer or NoTracer()
    hub = Hub(relay, limit=settings.streams, dashboard_limit=_DASHBOARD_STREAMS, texts=texts, stopping=stopping)
    actions, groups, overview = JobActions(relay, bodies, intake, clock), Groups(relay, bodies), Overview(relay, bodies)
    docs = Docs(settings.public_url)

    collection = CollectionByName(relay, bodies, intake, clock, tracer)

    authentication = Authentication(keys, settings, ROUTES)
    app: falcon.App[Any, Any] = falcon.App(
        response_type=Response, middleware=[ResponseHeaders(settings.allowed_origins), authentication]
    )
    # Falcon's own makes an encoder for each answer.
    app.resp_options.media_handlers[falcon.MEDIA_JSON] = JSONHandler(dumps=JSONEncoder(ensure_ascii=False).encode)
    app.req_options.strip_url_path_trailing_slash = True
    error_handlers.install(app)
    resources: dict[str, tuple[Any, str | None]] = {
        "/api/claude": (Submit(relay, bodies, intake, wait_slots, clock, tracer, timer), None),
        "/api/claude/bulk": (SubmitBulk(relay, bodies, intake, clock, tracer), None),
        "/api/estimate": (Estimate(relay, bodies, intake, clock), None),
        "/api/status/{requestId}": (Status(relay), None),
        "/api/result/{requestId}": (Result(relay, wait_slots), None),
        "/api/jobs": (Jobs(relay, clock), None),
        "/api/jobs/{requestId}": (JobDetails(relay), None),
        "/api/jobs/{requestId}/cancel": (actions, "cancel"),
        "/api/jobs/{requestId}/retry": (actions, "retry"),
        "/api/jobs/{requestId}/redeliver": (actions, "redeliver"),
        "/api/jobs/{requestId}/events": (JobEvents(relay, hub), None),
        "/api/events": (Events(relay, hub), None),
        "/api/redeliver": (Redeliver(relay, bodies, intake, clock), None),
        "/api/templates": (Templates(relay), None),
        "/api/templates/{name}": (TemplateByName(relay, bodies, intake, clock), None),
        "/api/collections": (Collections(relay, bodies, intake, clock, tracer), None),
        "/api/collections/{collectionId}": (collection, None),
        **{
            f"/api/collections/{{collectionId}}/{name}": (collection, name)
            for name in ("rows", "close", "results", "cancel", "retry", "redeliver")
        },
        "/api/collections/{collectionId}/events": (CollectionEvents(relay, hub), None),
        "/api/groups/{group}": (groups, None),
        "/api/groups/{group}/pause": (groups, "pause"),
        "/api/groups/{group}/resume": (groups, "resume"),
        "/api/cost": (Cost(relay, clock), None),
        "/api/overview": (overview, None),
        "/api/moves": (EventFeed(relay), None),
        "/api/pause": (overview, "pause"),
        "/api/drain": (overview, "drain"),
        "/api/resume": (overview, "resume"),
        "/ack/{token}": (Ack(relay), None),
        "/health": (Health(settings.env), None),
        "/health/ready": (Ready(relay, disk_problem), None),
        "/metrics": (Metrics(relay, timer, engine=settings.store.partition(":")[0]), None),
        "/": (Home(settings.public_url, dashboard=dashboard is not None), None),
        "/openapi.json": (OpenApi(settings.public_url), None),
        "/docs": (docs, None),
        "/docs/style.css": (docs, "style"),
    }
    for path, (resource, suffix) in resources.items():
        _add_head(path, resource)
        app.add_route(falcon_path(path), resource, suffix=suffix)
    if dashboard is not None:
        authentication.logged_in = dashboard(app, keys, hub)

    return app


def _add_head(path: str, resource: Any) -> None:
    """Answer HEAD wherever GET is answered, as HTTP requires, unless the GET has an effect."""
    if path not in _NO_HEAD and hasattr(resource, "on_get") and not hasattr(resource, "on_head"):
        resource.on_head = resource.on_get
