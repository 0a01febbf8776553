"""
Composition: the one package that names concrete classes, and the only one that may import everything.

The names below are resolved when they are used, so that `status` does not load the web server, nor the API process
Anthropic's SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from ..self_command import self_command as executable
    from .alerts import send_alerts
    from .daemons import dashboard, make_app, make_worker, openapi_document, serve, work
    from .engines import Engine, engine_of
    from .host_checks import check_access, check_host, lost_with_container
    from .intake import intake_context, probe_problem, webhook_url_problem
    from .stores import OpenRelay, check_store, open_relay, open_relay_for_reading, open_worker_relay, text_source

__all__ = [
    "Engine",
    "OpenRelay",
    "check_access",
    "check_host",
    "check_store",
    "dashboard",
    "engine_of",
    "executable",
    "intake_context",
    "lost_with_container",
    "make_app",
    "make_worker",
    "open_relay",
    "open_relay_for_reading",
    "open_worker_relay",
    "openapi_document",
    "probe_problem",
    "send_alerts",
    "serve",
    "text_source",
    "webhook_url_problem",
    "work",
]

__getattr__ = lazy_names(
    __name__,
    {
        ".self_command": ("self_command as executable",),
        "alerts": ("send_alerts",),
        "daemons": ("dashboard", "make_app", "make_worker", "openapi_document", "serve", "work"),
        "host_checks": ("check_access", "check_host", "lost_with_container"),
        "engines": ("Engine", "engine_of"),
        "intake": ("intake_context", "probe_problem", "webhook_url_problem"),
        "stores": (
            "OpenRelay",
            "check_store",
            "open_relay",
            "open_relay_for_reading",
            "open_worker_relay",
            "text_source",
        ),
    },
)
