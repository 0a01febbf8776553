"""Webhook POST, bounded in time, memory and threads whatever the receiver does."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from urllib.parse import urljoin

from .. import __version__
from ..core.deliveries.delivery import Reply
from ..core.intake.webhook import SENDER_HEADERS
from .allowlist import PrivateAllowlist
from .error_text import excerpt, retry_after
from .http_client import GuardedHttpClient, HttpResult
from .ssrf_guard import Resolver

log = logging.getLogger(__name__)


class HttpSender:
    """`ports.Sender` over HTTP."""

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
        self._client = GuardedHttpClient(allow=allow, timeout=timeout, limit=limit, trust=trust, resolver=resolver)
        self._clock = clock

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send one POST. Never raises. Of two `headers` that differ only in case, the later one counts."""
        started = time.monotonic()
        status = None
        try:
            result = self._client.call("POST", url, _headers(headers), body)
            status, ms = result.status, _since(started)
            if status is None:
                return Reply(ms=ms, error=result.error, blocked=result.blocked, local_fault=result.local_fault)
            return Reply(
                status=status,
                ms=ms,
                excerpt=excerpt(bytes(result.body), result.headers.get("content-encoding")),
                location=_location(url, result),
                retry_after=retry_after(result.headers.get("retry-after"), now=self._clock()),
            )
        except Exception as exc:
            log.exception("a POST failed with an internal error")
            if status is not None:  # the receiver has decided: its status counts, without its words
                return Reply(status=status, ms=_since(started))
            return Reply(ms=_since(started), error=f"not sent ({type(exc).__name__})", local_fault=True)


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _location(url: str, result: HttpResult) -> str | None:
    """The URL that a redirect leads to, which is recorded and never followed."""
    location = result.headers.get("location")
    if not location or result.status is None or not 300 <= result.status < 400:
        return None
    try:
        return excerpt(urljoin(url, location.strip()).encode("utf-8", "replace"))
    except ValueError:
        return None


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    return {
        **{name: value for name, value in given.items() if name.strip().lower() not in SENDER_HEADERS},
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": f"claude-relay/{__version__}",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
