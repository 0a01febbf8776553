"""Alerts: what an operator should hear of, once for each cause, to RELAY_ALERT_URL and the log."""

from __future__ import annotations

import logging
import time

from ..core import wire
from ..core.signing import sign
from ..ports import Sender
from ..relay import Relay

log = logging.getLogger(__name__)


class Alerts:
    """Sends what is due. Which were sent stands in the store, so that several workers send each once."""

    def __init__(self, relay: Relay, sender: Sender, *, url: str | None, secrets: tuple[str, ...] = ()) -> None:
        self._relay, self._sender, self._url, self._secrets = relay, sender, url, secrets

    def send(self) -> None:
        """Tell of each new cause; an address that does not answer is not tried again for the same one."""
        for alert in self._relay.upkeep.alerts():
            log.error(alert["message"], extra={"alert": alert["alert"], "since": alert["since"]})
            if self._url is None:
                continue
            body = wire.encode(alert)
            name = f"alert_{alert['alert']}_{alert['since']}".replace(".", "_").replace(":", "_")
            reply = self._sender.post(self._url, body, sign(name, time.time(), body, self._secrets))
            if reply.status is None or not 200 <= reply.status < 300:
                log.warning("alert not delivered", extra={"statusCode": reply.status, "error": reply.error})
