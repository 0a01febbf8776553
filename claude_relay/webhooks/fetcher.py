"""One GET for a file that a job names by its address."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable

from .. import __version__
from ..core.files.fetched import FetchResult
from .allowlist import PrivateAllowlist
from .error_text import retry_after
from .http_client import GuardedHttpClient, content_length, tls_context
from .ssrf_guard import Resolver

_HEADERS = {
    "Accept": "application/pdf, image/png, image/jpeg, image/gif, image/webp, */*;q=0.1",
    "User-Agent": f"claude-relay/{__version__}",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class HttpFetcher:
    """Fetches over HTTP, under the guard that webhooks have: `ports.Fetcher`."""

    def __init__(
        self,
        *,
        allow: PrivateAllowlist | None = None,
        timeout: float = 60.0,
        limit: int = 16,
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

    def fetch(
        self,
        url: str,
        *,
        most: int,
        stop: Callable[[], object] = lambda: None,
        room: Callable[[int], bool] = lambda size: True,
    ) -> FetchResult:
        """Never raises. Of a file of more than `most` bytes no more is read than that."""

        def admit(length: int | None) -> bool:
            return (length is None or length <= most) and room(most if length is None else length)

        # One byte more, to tell a file of that very size from a larger one.
        heard = self._line.call("GET", url, _HEADERS, most=most + 1, admit=admit, stop=stop)
        declared = content_length(heard.headers) or 0

        return FetchResult(
            host=heard.host,
            status=heard.status,
            data=heard.body,
            complete=heard.complete,
            too_large=len(heard.body) > most or declared > most,
            encoding=heard.headers.get("content-encoding"),
            retry_after=retry_after(heard.headers.get("retry-after"), now=self._clock()),
            error=heard.error,
            blocked=heard.blocked,
            timed_out=heard.timed_out,
            exhausted=heard.exhausted,
        )
