"""The two daemons: the API process and the worker."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..core.keys import MIN_SECRET_LENGTH
from ..errors import Busy
from ..file_owner import share_with_group
from .alerts import alert_http_sender, alerts_in_api_process
from .engines import engine_of
from .host_checks import check_host
from .intake import intake_context
from .store_check import StoreCheck
from .stores import OpenRelay, open_relay, open_worker_relay, text_source
from .tracing import open_tracer

if TYPE_CHECKING:
    import falcon

    from ..api.app import MountDashboard
    from ..api.auth import KeyVerifier
    from ..config import Settings
    from ..core.intake import IntakeContext
    from ..ports import BatchApi, Claude, ModelLister, Tracer
    from ..services import Relay
    from ..storage.sqlite.disk_reserve import DiskReserve
    from ..systemd import Supervisor
    from ..worker.daemon import Daemon
    from ..worker.pacing import Pacing

#: Reads the settings again; None if they are invalid.
Reread = Callable[[], "Settings | None"]

log = logging.getLogger(__name__)

#: How long the check of a store may take at the start, in seconds.
_CHECK_TIMEOUT = 3600.0


def serve(settings: Settings, supervisor: Supervisor | None = None, reread: Reread = lambda: None) -> int:
    """Run the API until it is stopped; returns the exit code. `reread`: the settings of now, None if invalid."""
    from ..api.auth import StoredKeys
    from ..api.serve import Server
    from ..garbage import spare_daemon
    from ..malloc import return_large_blocks, share_arenas
    from ..systemd import alert_trigger

    return_large_blocks()
    share_arenas()
    settings.require("API_SECRET_KEY")
    _warn_of_a_short_key(settings)
    check_host(settings, os.environ, calls=False)
    share_with_group(settings.state_folder)
    _announce_store_check(supervisor)
    with open_relay(settings, create=True) as relay:
        relay.load()
        check = StoreCheck(relay, engine_of(settings).file)
        check.before_start()
        _check_clock(relay)
        stopping = threading.Event()
        alert_trigger.api_started(os.environ)
        relay.alerts.record_api_start(socket.gethostname())
        keys = StoredKeys(_admin_keys(settings), relay.keys)

        def reread_keys() -> None:
            if (current := reread()) is not None:
                keys.replace_admin_keys(_admin_keys(current))
                log.info("secrets read again")

        with alerts_in_api_process(settings, relay), open_tracer(settings, "claude-relay-api") as tracer:
            app = make_app(settings, relay, stopping, keys, tracer)
            spare_daemon()
            server = Server(app, settings, relay, stopping, supervisor, reread_keys)
            return check.while_running(server.run, server.stop)


def make_app(
    settings: Settings,
    relay: Relay,
    stopping: threading.Event | None = None,
    verifier: KeyVerifier | None = None,
    tracer: Tracer | None = None,
) -> falcon.App[falcon.Request, falcon.Response]:
    """The HTTP API as a WSGI application."""
    from ..api.app import make_app

    intake, disk_problem = intake_context(settings, relay), engine_of(settings).space_check()

    return make_app(
        relay,
        settings,
        intake=intake,
        verifier=verifier,
        disk_problem=disk_problem,
        stopping=stopping,
        texts=text_source(settings),
        tracer=tracer,
        clock=relay.clock,
        dashboard=dashboard(settings, relay, intake),
    )


def dashboard(
    settings: Settings, relay: Relay, intake: IntakeContext, clock: Callable[[], float] | None = None
) -> MountDashboard | None:
    """The dashboard of these settings; None without a key to log in with."""
    from ..dashboard.mount import mount

    if not settings.admin_keys:
        return None

    return lambda app, verifier, hub: mount(
        app, relay, settings, intake=intake, verifier=verifier, hub=hub, clock=clock or relay.clock
    )


def openapi_document(base: str | None) -> dict[str, Any]:
    """The OpenAPI document of the HTTP API; `base` is the URL at which callers reach it."""
    from ..api.openapi import document

    return document(base)


def work(
    settings: Settings,
    supervisor: Supervisor | None = None,
    name: str | None = None,
    reread: Reread = lambda: None,
) -> int:
    """Run a worker until it is stopped; returns the exit code. `reread`: the settings of now, None if invalid."""
    from ..garbage import spare_daemon
    from ..malloc import return_large_blocks
    from ..worker.pacing import Pacing
    from .upstream import open_client

    return_large_blocks()
    if settings.provider == "anthropic":
        settings.require("ANTHROPIC_API_KEY")
    check_host(settings, os.environ, calls=True)
    share_with_group(settings.state_folder)
    _announce_store_check(supervisor)
    with contextlib.ExitStack() as stack:
        reserve = engine_of(settings).disk_reserve()
        opened = open_worker_relay(settings, create=True, reserve=reserve)
        stack.callback(opened.close)
        opened.relay.load()
        check = StoreCheck(opened.relay, engine_of(settings).file)
        check.before_start()
        _check_clock(opened.relay)
        pacing = Pacing()
        tracer = stack.enter_context(open_tracer(settings, "claude-relay-worker"))
        client = open_client(settings, stack, pacing, opened.relay)
        batches = client.batches()
        stack.callback(batches.close)

        def reread_key() -> Settings | None:
            current = reread()
            if current is not None and current.provider == "anthropic" and current.anthropic_api_key:
                client.replace_key(current.anthropic_api_key)
            return current

        worker = make_worker(
            settings,
            opened,
            client,
            batches,
            pacing,
            reserve,
            models=client,
            tracer=tracer,
            supervisor=supervisor,
            name=name,
            reread=reread_key,
        )
        spare_daemon()

        return check.while_running(worker.run, worker.stop)


def make_worker(
    settings: Settings,
    opened: OpenRelay,
    claude: Claude,
    batches: BatchApi,
    pacing: Pacing,
    reserve: DiskReserve | None = None,
    *,
    models: ModelLister | None = None,
    tracer: Tracer | None = None,
    supervisor: Supervisor | None = None,
    name: str | None = None,
    reread: Reread = lambda: None,
) -> Daemon:
    """A worker, not yet running. Without `models` the list of models is never refreshed."""
    from ..notify.text_socket import TextSender
    from ..notify.wakeup_socket import WakeupListener
    from ..webhooks.allowlist import PrivateAllowlist
    from ..webhooks.fetcher import HttpFetcher
    from ..webhooks.sender import HttpSender
    from ..worker.daemon import Daemon
    from ..worker.delivery_sender import SENDERS

    allow = PrivateAllowlist.parse(settings.allow_private_urls)
    # More than the senders use, for DNS lookups that hang after their POST has timed out.
    sender = HttpSender(timeout=settings.webhook_timeout, allow=allow, limit=2 * SENDERS)
    fetcher = HttpFetcher(timeout=settings.fetch_timeout, limit=2 * settings.concurrency, allow=allow)

    texts = TextSender(opened.folder)

    return Daemon(
        opened.relay,
        claude,
        batches,
        sender,
        fetcher,
        alert_http_sender(settings, allow),
        opened.ready,
        lambda worker: WakeupListener(opened.folder, worker),
        settings=settings,
        folder=opened.folder,
        shared=opened.shared,
        pacing=pacing,
        name=name,
        supervisor=supervisor,
        restore_reserve=lambda: reserve.resize(settings.disk_floor) if reserve else None,
        models=models,
        texts=texts,
        tracer=tracer,
        disk_free=lambda: shutil.disk_usage(settings.state_folder).free,
        reread=reread,
    )


def _admin_keys(settings: Settings) -> tuple[str, ...]:
    # The complete text counts, too: scripts send $API_SECRET_KEY, and an old key may contain a comma.
    return tuple(dict.fromkeys((*settings.admin_keys, settings.api_secret_key or secrets.token_hex())))


def _warn_of_a_short_key(settings: Settings) -> None:
    if min(map(len, settings.admin_keys)) < MIN_SECRET_LENGTH:
        cure = f"use at least {MIN_SECRET_LENGTH} characters, such as those of: openssl rand -hex 32"
        log.warning("API_SECRET_KEY can be guessed", extra={"cure": cure})


def _announce_store_check(supervisor: Supervisor | None) -> None:
    """Extend the start timeout: a migration may rewrite the store. Gigabytes take minutes."""
    if supervisor is not None:
        supervisor.starting("checking the store", _CHECK_TIMEOUT)


def _check_clock(relay: Relay) -> None:
    """A later start may succeed: a clock without a battery is right once it is synchronised over the network."""
    if (fault := relay.queries.clock_problem()) is not None:
        raise Busy(f"{fault}. Nothing was started and nothing is lost. Set the clock: timedatectl set-ntp true.")
