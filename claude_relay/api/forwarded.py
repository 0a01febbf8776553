"""The X-Forwarded headers of the trusted proxy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Container, Iterable
from typing import Any

#: `ws` and `wss` are the schemes of a proxy that upgrades connections: the same ports and the same TLS.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_PORT = {"http": "80", "https": "443"}


class TrustedProxy:
    """
    WSGI middleware: takes address, scheme and host of the client from the headers of one proxy.

    `*` trusts any address. Of a list only the last entry is the proxy's own. A header that has no meaning is ignored,
    as if the proxy had not sent it: waitress's own middleware answers such a request with a text that is not JSON, and
    so refuses every request of a proxy that sends `https, https`.
    """

    def __init__(self, app: Callable[[dict[str, Any], Any], Iterable[bytes]], trusted: Container[str]) -> None:
        self._app, self._trusted = app, trusted

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REMOTE_ADDR"] in self._trusted:
            if (address := _address(_last(environ, "HTTP_X_FORWARDED_FOR"))) is not None:
                environ["REMOTE_ADDR"] = environ["REMOTE_HOST"] = address
            if (scheme := _SCHEMES.get(_last(environ, "HTTP_X_FORWARDED_PROTO").lower())) is not None:
                environ["wsgi.url_scheme"], environ["SERVER_PORT"] = scheme, _PORT[scheme]
            if _HOST.fullmatch(host := _last(environ, "HTTP_X_FORWARDED_HOST")):
                environ["HTTP_HOST"] = host

        return self._app(environ, start_response)


def _last(environ: dict[str, Any], name: str) -> str:
    """The last entry of a header, without quotes; empty without the header."""
    return str(environ.get(name, "")).rpartition(",")[2].strip().strip('"').strip()


def _address(text: str) -> str | None:
    """The IP address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; else None."""
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None
