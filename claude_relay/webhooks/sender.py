"""One POST to a webhook: bounded in time, memory and threads, whatever the receiver does."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping

from .. import __version__
from ..core.delivery import Reply
from ..core.intake.webhook import SENDERS_OWN
from .allow import Allow
from .guard import Resolver
from .line import Line, trusted
from .words import excerpt, retry_after


class Http:
    """Sends over HTTP: `ports.Sender`."""

    def __init__(
        self,
        *,
        allow: Allow | None = None,
        timeout: float = 30.0,
        limit: int = 64,
        trust: ssl.SSLContext | None = None,
        resolver: Resolver = socket.getaddrinfo,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._line = Line(
            allow=allow or Allow(), timeout=timeout, limit=limit, trust=trust or trusted(), resolver=resolver
        )
        self._clock = clock

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Never raises. Where two of `headers` differ in case alone, the later one counts."""
        started = time.monotonic()
        heard = self._line.call("POST", url, _headers(headers), body)
        ms = round((time.monotonic() - started) * 1000)
        if heard.status is None:
            return Reply(ms=ms, error=heard.error, blocked=heard.blocked, ours=heard.ours)

        return Reply(
            status=heard.status,
            ms=ms,
            excerpt=excerpt(bytes(heard.body), heard.headers.get("content-encoding")),
            retry_after=retry_after(heard.headers.get("retry-after"), now=self._clock()),
        )


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    return {
        **{name: value for name, value in given.items() if name.strip().lower() not in SENDERS_OWN},
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": f"claude-relay/{__version__}",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
