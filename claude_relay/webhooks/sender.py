"""One POST to a webhook: bounded in time, memory and threads, whatever the receiver does."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Mapping

from .. import __version__
from ..core.deliveries.delivery import Reply
from ..core.intake.webhook import SENDER_HEADERS
from .allowlist import PrivateAllowlist
from .error_text import excerpt, retry_after
from .http_client import GuardedHttpClient, tls_context
from .ssrf_guard import Resolver


class HttpSender:
    """Sends over HTTP: `ports.Sender`."""

    def __init__(
        self,
        *,
        allow: PrivateAllowlist | None = None,
        timeout: float = 30.0,
        limit: int = 64,
        trust: ssl.SSLContext | None = None,
        resolver: Resolver = socket.getaddrinfo,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._line = GuardedHttpClient(
            allow=allow or PrivateAllowlist(),
            timeout=timeout,
            limit=limit,
            trust=trust or tls_context(),
            resolver=resolver,
        )
        self._clock = clock

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Never raises. Where two of `headers` differ in case alone, the later one counts."""
        started = time.monotonic()
        heard = self._line.call("POST", url, _headers(headers), body)
        ms = round((time.monotonic() - started) * 1000)
        if heard.status is None:
            return Reply(ms=ms, error=heard.error, blocked=heard.blocked, local_fault=heard.local_fault)

        return Reply(
            status=heard.status,
            ms=ms,
            excerpt=excerpt(bytes(heard.body), heard.headers.get("content-encoding")),
            retry_after=retry_after(heard.headers.get("retry-after"), now=self._clock()),
        )


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    return {
        **{name: value for name, value in given.items() if name.strip().lower() not in SENDER_HEADERS},
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": f"claude-relay/{__version__}",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
