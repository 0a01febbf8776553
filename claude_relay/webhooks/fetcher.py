"""Download of a file that a job names by its URL."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable

from .. import __version__
from ..core.files.fetched import FetchResult
from .allowlist import PrivateAllowlist
from .error_text import retry_after
from .http_client import GuardedHttpClient, content_length
from .ssrf_guard import Resolver

log = logging.getLogger(__name__)

_HEADERS = {
    "Accept": "application/pdf, image/png, image/jpeg, image/gif, image/webp, */*;q=0.1",
    "User-Agent": f"claude-relay/{__version__}",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class HttpFetcher:
    """`ports.Fetcher` over HTTP, with the SSRF guard of webhooks."""

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
        self._client = GuardedHttpClient(allow=allow, timeout=timeout, limit=limit, trust=trust, resolver=resolver)
        self._clock = clock

    def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        stop: Callable[[], object] = lambda: None,
        reserve: Callable[[int], bool] = lambda size: True,
    ) -> FetchResult:
        """Download `url`, reading at max_bytes one byte more than `max_bytes`. Never raises."""
        try:
            return self._fetch(url, max_bytes, stop, reserve)
        except Exception as exc:
            log.exception("a download failed with an internal error")
            return FetchResult(host="", error=f"the file could not be fetched ({type(exc).__name__})")

    def _fetch(
        self, url: str, max_bytes: int, stop: Callable[[], object], reserve: Callable[[int], bool]
    ) -> FetchResult:
        def admit(length: int | None) -> bool:
            return (length is None or length <= max_bytes) and reserve(max_bytes if length is None else length)

        # One byte more distinguishes a file of exactly `max_bytes` bytes from a larger one.
        result = self._client.call("GET", url, _HEADERS, max_body=max_bytes + 1, admit=admit, stop=stop)
        declared = content_length(result.headers) or 0

        return FetchResult(
            host=result.host,
            status=result.status,
            data=result.body,
            complete=result.complete,
            too_large=len(result.body) > max_bytes or declared > max_bytes,
            encoding=result.headers.get("content-encoding"),
            retry_after=retry_after(result.headers.get("retry-after"), now=self._clock()),
            error=result.error,
            blocked=result.blocked,
            timed_out=result.timed_out,
            exhausted=result.exhausted,
        )
