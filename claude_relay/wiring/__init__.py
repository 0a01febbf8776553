"""
Who answers for what: the one package that names concrete classes, and the only one that may import everything.

Imported lazily, by verbs that open a store or start a daemon; and lazy itself, so that opening a store for `status`
does not load the web server, nor the API process Anthropic's SDK.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .. import self_command
from ..config import Settings, load_prices
from ..errors import Busy, ConfigError, StoreRefused
from .stores import OpenRelay, check_store, open_relay, open_worker_relay

if TYPE_CHECKING:
    import falcon

    from ..claude import AnthropicMessages
    from ..core.intake import IntakeContext
    from ..ports import BatchApi, Claude, ModelLister, Sender
    from ..services import Relay
    from ..storage.sqlite.disk_reserve import DiskReserve
    from ..systemd import Supervisor
    from ..webhooks.allowlist import PrivateAllowlist
    from ..worker.alert_sender import AlertSender
    from ..worker.daemon import Daemon
    from ..worker.pacing import Pacing

#: How long a family rests that has no tokens left this minute, in seconds.
_TOKENLESS = 5.0
#: How long the check of a store may take at a start, in seconds.
_CHECK = 3600.0

log = logging.getLogger(__name__)

__all__ = [
    "OpenRelay",
    "check_store",
    "executable",
    "intake_defaults",
    "make_app",
    "make_worker",
    "open_relay",
    "open_worker_relay",
    "probe_problem",
    "send_alerts",
    "serve",
    "webhook_url_problem",
    "work",
]


def intake_defaults(settings: Settings, relay: Relay) -> IntakeContext:
    """What a submission is held against at the door; of the models, what `relay` knows just then."""
    from ..claude import schema
    from ..core.intake import IntakeContext
    from ..webhooks.ssrf_guard import PrivateAllowlist, literal_problem

    allow = PrivateAllowlist.parse(settings.allow_private_urls)

    return IntakeContext(
        model=settings.model,
        check_url=lambda url: literal_problem(url, allow),
        check_schema=schema.schema_problem,
        model_catalog=relay.model_catalog,
        prices=load_prices(settings.prices),
        fallback_models=settings.fallback_models,
    )


def probe_problem(settings: Settings, destination: str) -> str | None:
    """Why a callback would not arrive there, in words, or None. Nothing is sent."""
    from ..webhooks.allowlist import PrivateAllowlist
    from ..webhooks.probe import probe_problem

    return probe_problem(destination, PrivateAllowlist.parse(settings.allow_private_urls))


def webhook_url_problem(url: str) -> str | None:
    """Why `url` is not a valid webhook URL, or None. Private hosts pass: they may be allowed where the relay runs."""
    from ..webhooks.url import url_problem

    return url_problem(url)


def make_app(settings: Settings, relay: Relay, leaving: threading.Event | None = None) -> falcon.App:
    """The HTTP side."""
    from ..api.app import make_app
    from ..storage.sqlite.disk_reserve import DiskSpaceCheck

    path = settings.store_path
    room = DiskSpaceCheck(path.parent, settings.disk_floor) if path else lambda: None

    return make_app(relay, settings, intake=intake_defaults(settings, relay), disk_problem=room, stopping=leaving)


def serve(settings: Settings, supervisor: Supervisor | None = None) -> int:
    """Run the API until it is told to stop; answers the exit code."""
    from ..api.serve import Server
    from ..malloc import return_large_blocks

    return_large_blocks()
    settings.require("API_SECRET_KEY")
    _say_what_takes_long(supervisor)
    with open_relay(settings, create=True) as relay:
        _refuse_a_broken_store(relay)
        _refuse_a_wrong_clock(relay)
        leaving = threading.Event()
        with _watching(settings, relay):
            return Server(make_app(settings, relay, leaving), settings, relay, leaving, supervisor).run()


@contextlib.contextmanager
def _watching(settings: Settings, relay: Relay) -> Iterator[None]:
    """
    Alerts from the API process, too: where there is no worker nobody else would notice.

    Without a network of its own (the unit's PrivateNetwork=) it leaves word for `claude-relay alerts` instead, also
    where it knows of no address: its unit need not have that secret.
    """
    from ..systemd import alert_trigger

    url = settings.alert_url if alert_trigger.has_network() else None
    alerts = _alerts(settings, relay, url, alert_trigger.leaving(os.environ))
    alerts.start()
    try:
        yield
    finally:
        alerts.stop()


def send_alerts(settings: Settings) -> int:
    """Look once for what needs a person, and tell what is due; answers how many alerts were taken."""
    with open_relay(settings) as relay:
        return _alerts(settings, relay, settings.alert_url).once()


def _alerts(
    settings: Settings, relay: Relay, url: str | None, leave_word: Callable[[], None] | None = None
) -> AlertSender:
    from ..webhooks.allowlist import PrivateAllowlist
    from ..worker.alert_sender import AlertSender

    sender = _alert_sender(settings, PrivateAllowlist.parse(settings.allow_private_urls))
    secrets, models = settings.webhook_secret, settings.models()

    return AlertSender(relay, sender, url=url, leave_word=leave_word, secrets=secrets, models=models)


def work(settings: Settings, supervisor: Supervisor | None = None, name: str | None = None) -> int:
    """Run a worker until it is told to stop; answers the exit code."""
    from ..malloc import return_large_blocks
    from ..storage.sqlite.disk_reserve import DiskReserve
    from ..worker.pacing import Pacing

    return_large_blocks()
    if settings.provider == "anthropic":
        settings.require("ANTHROPIC_API_KEY")
    _say_what_takes_long(supervisor)
    with contextlib.ExitStack() as stack:
        ballast = DiskReserve(settings.store_path.with_suffix(".ballast")) if settings.store_path else None
        house = open_worker_relay(settings, create=True, ballast=ballast)
        stack.callback(house.close)
        _refuse_a_broken_store(house.relay)
        _refuse_a_wrong_clock(house.relay)
        pacing = Pacing()
        claude = _claude(settings, stack, pacing, house.relay)

        batches = claude.batches()
        stack.callback(batches.close)

        return make_worker(
            settings, house, claude, batches, pacing, ballast, models=claude, supervisor=supervisor, name=name
        ).run()


def make_worker(
    settings: Settings,
    house: OpenRelay,
    claude: Claude,
    batches: BatchApi,
    pacing: Pacing,
    ballast: DiskReserve | None = None,
    *,
    models: ModelLister | None = None,
    supervisor: Supervisor | None = None,
    name: str | None = None,
) -> Daemon:
    """A worker, not yet running. `models` tells which there are; without, nobody asks."""
    from ..notify.wakeup_socket import WakeupListener
    from ..webhooks.allowlist import PrivateAllowlist
    from ..webhooks.fetcher import HttpFetcher
    from ..webhooks.sender import HttpSender
    from ..worker.daemon import Daemon
    from ..worker.delivery_sender import SENDERS

    allow = PrivateAllowlist.parse(settings.allow_private_urls)
    # Room beyond the senders, for look-ups that hang longer than their POST was waited for.
    sender = HttpSender(timeout=settings.webhook_timeout, allow=allow, limit=2 * SENDERS)
    fetcher = HttpFetcher(timeout=settings.fetch_timeout, limit=2 * settings.concurrency, allow=allow)

    return Daemon(
        house.relay,
        claude,
        batches,
        sender,
        fetcher,
        _alert_sender(settings, allow),
        house.ready,
        lambda worker: WakeupListener(house.folder, worker),
        settings=settings,
        folder=house.folder,
        shared=house.shared,
        pacing=pacing,
        name=name,
        supervisor=supervisor,
        keep_room=lambda: ballast.resize(settings.disk_floor) if ballast else None,
        models=models,
    )


def _alert_sender(settings: Settings, allow: PrivateAllowlist) -> Sender:
    """Alerts go where the operator says, inside as well: no caller has a say in it."""
    from ..webhooks.sender import HttpSender
    from ..webhooks.url import InvalidUrl

    try:
        return HttpSender(timeout=settings.webhook_timeout, allow=allow.with_url(settings.alert_url))
    except InvalidUrl as exc:
        raise ConfigError([f"RELAY_ALERT_URL {exc}."]) from None


def _claude(settings: Settings, stack: contextlib.ExitStack, pacing: Pacing, relay: Relay) -> AnthropicMessages:
    from ..claude.messages import AnthropicMessages, CallTimeouts
    from ..claude.rate_limits import RateLimits

    key, base_url = settings.anthropic_api_key, settings.anthropic_base_url
    if settings.provider == "sandbox":
        from ..sandbox import Sandbox

        stand_in = stack.enter_context(Sandbox())
        # Any key will do; it is taken out of every message, so it must be no word of the language.
        key, base_url = "no-key-is-needed-here", stand_in.url
        log.warning("the sandbox answers, not Claude", extra={"provider": "sandbox", "url": stand_in.url})
    limits = CallTimeouts(
        call_timeout=settings.call_timeout, first_byte=settings.first_byte_timeout, idle=settings.idle_timeout
    )

    def heard(family: str, told: RateLimits) -> None:
        now, quota = time.time(), told.requests
        tokens = (told.tokens, told.input_tokens, told.output_tokens)
        # Tokens come back evenly, too: a family without any need not wait until it has all of them.
        out = [one.reset - now for one in tokens if one.remaining == 0 and one.reset is not None]
        pause = min(max(out), _TOKENLESS) if out else None
        pacing.record_limits(
            family, limit=quota.limit, remaining=quota.remaining, reset=quota.reset, exhausted_for=pause
        )

    def window(model: str) -> int | None:
        listed = relay.model_catalog().listed(model)
        return listed.max_input_tokens if listed else None

    claude = AnthropicMessages(
        api_key=key or "",
        prices=load_prices(settings.prices),
        base_url=base_url,
        limits=limits,
        on_limits=heard,
        shelf=relay.uploaded_files,
        keep_files=settings.retention,
        window=window,
    )
    stack.callback(claude.close)

    return claude


def _say_what_takes_long(supervisor: Supervisor | None) -> None:
    """All of a store is read at the start, and a migration may go over all of it: gigabytes take minutes."""
    if supervisor is not None:
        supervisor.starting("checking the store", _CHECK)


def _refuse_a_broken_store(relay: Relay) -> None:
    if (fault := relay.queries.check()) is not None:
        raise StoreRefused(
            f"the store is corrupt: {fault}. Nothing was written to it. Keep the file, and restore the latest backup."
        )


def _refuse_a_wrong_clock(relay: Relay) -> None:
    """Later may do: a clock without a battery is right once the network has told it the time."""
    if (fault := relay.queries.clock_problem()) is not None:
        raise Busy(f"{fault}. Nothing was started and nothing is lost. Set the clock: timedatectl set-ntp true.")


def executable() -> list[str]:
    """The command that starts this program again: for whoever starts a second process of it."""
    return self_command.self_command()
