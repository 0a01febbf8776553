"""Connection probe for a webhook destination: resolves, checks and connects as a callback would."""

from __future__ import annotations

import socket
import ssl
import time
from urllib.parse import urlsplit

from .allowlist import PrivateAllowlist
from .http_client import tls_context
from .pinned_connection import CancellableSocket
from .ssrf_guard import Blocked, resolve
from .url import InvalidUrl, parse_url


def probe_problem(destination: str, allow: PrivateAllowlist, *, timeout: float = 5.0) -> str | None:
    """Why a callback to `destination` (`https://host`) would fail, or None. Sends nothing."""
    connection = CancellableSocket(time.monotonic() + timeout)
    try:
        target = parse_url(destination)
        sock = connection.open(resolve(target.host, target.port, allow))
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
        return f"its certificate is not valid: {exc.verify_message}"
    except OSError as exc:
        return f"no connection ({exc.strerror or exc})"
    finally:
        connection.close()

    return None
