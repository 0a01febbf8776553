"""Alerts: sent by `claude-relay alerts`, the worker and the API process."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import ConfigError, StoreUnavailable
from .engines import engine_of
from .stores import open_relay

if TYPE_CHECKING:
    from ..config import Settings
    from ..core.alerts import Alert
    from ..ports import Sender
    from ..services import Relay
    from ..webhooks.allowlist import PrivateAllowlist
    from ..worker.alert_sender import AlertSender


def send_alerts(settings: Settings) -> int:
    """Evaluate the alerts once and send those that are due; returns how many were accepted."""
    from ..core import alerts as rules
    from ..systemd import alert_trigger

    if (lost := engine_of(settings).lost_store()) is not None:
        alert = rules.store_gone(lost.message, since=lost.since, command=lost.command)
        return _send_from_memory(settings, alert)
    try:
        failure = alert_trigger.api_failure(os.environ)
        with open_relay(settings, create=failure is not None) as relay:  # the API, which failed, may be new
            if failure is not None:
                relay.alerts.record_api_failure(socket.gethostname(), failure.stat().st_mtime)
                failure.unlink()
            return _alert_sender(settings, relay, settings.alert_url).once()
    except StoreUnavailable as exc:
        if engine_of(settings).is_missing(exc):
            raise
        since = alert_trigger.outage_since(os.environ) or time.time()
        alert = rules.store_away(str(exc), since=since, host=socket.gethostname())
        return _send_from_memory(settings, alert)


@contextlib.contextmanager
def alerts_in_api_process(settings: Settings, relay: Relay) -> Iterator[None]:
    """
    Evaluate alerts also in the API process, for the case that no worker runs.

    Without a network of its own (the unit's PrivateNetwork=) it triggers `claude-relay alerts` instead, also without a
    URL: its unit need not have that secret.
    """
    from ..systemd import alert_trigger

    url = settings.alert_url if alert_trigger.has_network() else None
    alerts = _alert_sender(settings, relay, url, alert_trigger.leaving(os.environ))
    alerts.start()
    try:
        yield
    finally:
        alerts.stop()


def alert_http_sender(settings: Settings, allow: PrivateAllowlist) -> Sender:
    """The sender of alerts, which may use the operator's private URL: no caller can choose it."""
    from ..webhooks.sender import HttpSender
    from ..webhooks.url import InvalidUrl

    try:
        return HttpSender(timeout=settings.webhook_timeout, allow=allow.with_url(settings.alert_url))
    except InvalidUrl as exc:
        raise ConfigError([f"RELAY_ALERT_URL {exc}."]) from None


def _send_from_memory(settings: Settings, alert: Alert) -> int:
    """
    Send the alert of a daemon that has no network, while the store, where the others wait, cannot be used.

    The daemon sets its trigger again and again: it does not learn whether the alert was accepted.
    """
    from ..core import alerts as rules
    from ..core import wire
    from ..core.deliveries.signing import sign
    from ..systemd import alert_trigger
    from ..webhooks.allowlist import PrivateAllowlist
    from ..worker.memory_alert import alert_id, log_alert

    if alert_trigger.was_sent(os.environ, alert_id(alert)):
        return 0
    log_alert(alert)
    if settings.alert_url is None:
        return 0
    body = wire.encode(rules.body(alert, now=time.time()))
    sender = alert_http_sender(settings, PrivateAllowlist.parse(settings.allow_private_urls))
    headers = sign(alert_id(alert), time.time(), body, settings.webhook_secret)
    reply = sender.post(settings.alert_url, body, headers)

    accepted = reply.status is not None and 200 <= reply.status < 300
    if accepted:
        alert_trigger.record_sent(os.environ, alert_id(alert))

    return int(accepted)


def _alert_sender(
    settings: Settings, relay: Relay, url: str | None, trigger: Callable[[float | None], None] | None = None
) -> AlertSender:
    from ..webhooks.allowlist import PrivateAllowlist
    from ..worker.alert_sender import AlertSender

    sender = alert_http_sender(settings, PrivateAllowlist.parse(settings.allow_private_urls))
    secrets, models = settings.webhook_secret, settings.models()

    folder = settings.state_folder

    return AlertSender(relay, sender, url=url, trigger=trigger, secrets=secrets, models=models, folder=folder)
