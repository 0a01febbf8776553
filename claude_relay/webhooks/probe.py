"""Whether a destination can be reached from here: looked up, checked and connected to as a callback would be."""

from __future__ import annotations

import socket
import ssl
import time
from urllib.parse import urlsplit

from .allowlist import PrivateAllowlist
from .pinned_connection import CancellableSocket
from .sender import tls_context
from .ssrf_guard import Blocked, resolve
from .url import InvalidUrl, parse_url


def probe_problem(destination: str, allow: PrivateAllowlist, *, timeout: float = 5.0) -> str | None:
    """Why no callback would arrive at `destination` (`https://host`), in words, or None. Nothing is sent."""
    wire = CancellableSocket(time.monotonic() + timeout)
    try:
        target = parse_url(destination)
        sock = wire.open(resolve(target.host, target.port, allow))
        try:
            if urlsplit(destination).scheme == "https":
                sock = tls_context().wrap_socket(sock, server_hostname=target.host)
        finally:
            sock.close()
    except (Blocked, InvalidUrl) as exc:
        return str(exc)
    except socket.gaierror as exc:
        return f"the name cannot be looked up ({exc.strerror})"
    except ssl.SSLCertVerificationError as exc:
        return f"its certificate is not good: {exc.verify_message}"
    except OSError as exc:
        return f"no connection ({exc.strerror or exc})"
    finally:
        wire.close()

    return None
