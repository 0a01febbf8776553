"""Middleware for every request: authentication, rate limits, CORS and security headers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import falcon

from ..config import Settings
from ..core.keys import digest_of
from ..errors import Forbidden, Unauthorized
from .admission import ENVIRON, Admission
from .auth import Caller, KeyVerifier, authenticate, key_of
from .limits import KnownKeys, RateLimiter, client_address
from .scopes import check_route

log = logging.getLogger(__name__)

#: Paths without a key or a limit.
OPEN = ("/health", "/health/ready", "/", "/openapi.json", "/docs", "/docs/style.css")
#: Path without a limit, and with RELAY_METRICS_PUBLIC without a key.
METRICS = "/metrics"
#: Paths whose token is the credential, without a limit: a wrong token costs a hash and no read of the store.
ACK = "/ack/"
#: The pages, which have a login of their own; their requests count against no rate.
DASHBOARD = "/dashboard"
_SUBMIT = ("/api/claude", "/api/claude/bulk", "/api/collections")
_ROWS = re.compile(r"/api/collections/[^/]+/rows")
#: Parameters of paths: as documented, and as Python names them.
_PARAMETERS = (("{requestId}", "{request_id}"), ("{collectionId}", "{collection_id}"))
#: Headers of every response, unless it sets its own.
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_EXPOSED = (
    "Location, Retry-After, RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset,"
    " Idempotency-Replayed, Preference-Applied, X-Request-Id"
)
_ALLOWED = "X-API-Key, Authorization, Content-Type, Idempotency-Key, Prefer, X-Request-Id, traceparent, Last-Event-ID"


def falcon_path(path: str) -> str:
    """The documented path of a route as the router takes it."""
    for documented, name in _PARAMETERS:
        path = path.replace(documented, name)

    return path


def documented_path(path: str) -> str:
    """The path of a route as it is documented."""
    for documented, name in _PARAMETERS:
        path = path.replace(name, documented)

    return path


def is_dashboard(path: str) -> bool:
    """Whether a path is one of the dashboard's."""
    return path == DASHBOARD or path.startswith(f"{DASHBOARD}/")


class Authentication:
    """
    Requires a key with the scopes of the route.

    Counts each request by its key, or by IP address if the key is wrong.
    """

    def __init__(self, verifier: KeyVerifier, settings: Settings, routes: Mapping[str, tuple[str, ...]]) -> None:
        self._verifier, self._routes = verifier, routes
        self._submit = RateLimiter("submit", settings.rate_limit_submit)
        self._other = RateLimiter("general", settings.rate_limit)
        self._metrics_public = settings.metrics_public
        self._per_owner: dict[str, RateLimiter] = {}
        self._known_keys = KnownKeys()
        #: Whether a request of the dashboard is logged in: others may only send a small body.
        self.logged_in: Callable[[falcon.Request], bool] = lambda req: False

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """
        Authenticate before routing, so that a client without a key cannot find out which paths exist.

        Where the body has not arrived yet this is all that is done; the complete request passes by the same decision.
        """
        admission: Admission | None = req.env.get(ENVIRON)
        if admission is None:
            admission = req.env[ENVIRON] = Admission()
        if not admission.decided:
            self._decide(admission, req)
            admission.decided = True
        if admission.caller is not None:
            req.context.caller = admission.caller
        if admission.head_only:
            resp.status, resp.complete = falcon.HTTP_100, True

    def _decide(self, admission: Admission, req: falcon.Request) -> None:
        open_paths = (*OPEN, METRICS) if self._metrics_public else OPEN
        if req.path in open_paths or req.path.startswith(ACK) or req.method == "OPTIONS":
            admission.limit_body(req.content_length)
            return
        if is_dashboard(req.path):
            if not self.logged_in(req):
                admission.limit_body(req.content_length)
            return
        submits = req.method == "POST" and (req.path in _SUBMIT or _ROWS.fullmatch(req.path) is not None)
        caller = self._caller(req, admission.headers)
        limiter = self._submit if submits else self._other
        if submits and caller.rate is not None:
            own = self._per_owner.get(caller.owner)
            limiter = own or self._per_owner.setdefault(caller.owner, RateLimiter("submit", caller.rate))
        if req.path != METRICS:  # a scrape every few seconds is no use of the API
            limiter.spend(f"key {caller.owner}", admission.headers)
        admission.caller = caller

    def _caller(self, req: falcon.Request, headers: dict[str, str]) -> Caller:
        """
        The caller of the request's key.

        An address that sent too many wrong keys gets 429 before a further key is tried, so that guessing is slowed and
        the answer does not tell a right guess. Only keys that were right at that same address pass: a key that is known
        at another one would tell. Requests at the same moment can exceed the limit by one for each thread.
        """
        address, key = client_address(req), key_of(req)
        digest = digest_of(key or "")
        if not (known := self._known_keys.refresh(address, digest)):
            self._other.check(f"address {address}", headers)
        try:
            caller = authenticate(key, self._verifier)
        except (Unauthorized, Forbidden):
            self._known_keys.discard(address, digest)
            self._other.spend(f"address {address}", headers)
            raise
        if not known:
            self._known_keys.add(address, digest)

        return caller

    def process_resource(self, req: falcon.Request, resp: falcon.Response, resource: Any, params: Any) -> None:
        """Check the scopes of the route, before the body is read."""
        if not hasattr(req.context, "caller"):
            return
        path = documented_path(req.uri_template or "")
        method = "GET" if req.method == "HEAD" else req.method
        if method not in self._routes[path]:
            raise falcon.HTTPMethodNotAllowed(self._routes[path])
        check_route(req.context.caller, method, path)


class Response(falcon.Response):
    """A response that begins with the security headers: merging them into each at its end takes longer."""

    def __init__(self, *, options: falcon.ResponseOptions | None = None) -> None:
        super().__init__(options=options)
        self._headers.update(_HEADERS)


class ResponseHeaders:
    """CORS headers from ALLOWED_ORIGINS, those of the rate limits, and the caller's X-Request-Id."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origins)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a preflight request here: it carries no key."""
        if req.method == "OPTIONS" and req.get_header("Access-Control-Request-Method"):
            resp.status = falcon.HTTP_204
            resp.complete = True

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: Any, succeeded: bool) -> None:
        """Add the headers that the request asks for, to errors, too."""
        admission = req.env.get(ENVIRON)
        if admission is not None and admission.headers:
            resp.set_headers(admission.headers)
        if (trace_id := http_request_id(req)) is not None:
            resp.set_header("X-Request-Id", trace_id)
            _log_request(req, resp, trace_id)
        origin = req.get_header("Origin")
        if origin is None or is_dashboard(req.path) or not (self._any or origin in self._origins):
            return
        resp.set_header("Access-Control-Allow-Origin", "*" if self._any else origin)
        resp.append_header("Vary", "Origin")
        resp.set_header("Access-Control-Expose-Headers", _EXPOSED)
        if req.method == "OPTIONS":
            resp.set_header("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
            resp.set_header("Access-Control-Allow-Headers", _ALLOWED)
            resp.set_header("Access-Control-Max-Age", "86400")


def http_request_id(req: falcon.Request) -> str | None:
    """The caller's X-Request-Id, if it can be repeated in a header and in the log."""
    text = req.get_header("X-Request-Id")

    return text if text and len(text) <= 128 and text.isascii() and text.isprintable() else None


def _log_request(req: falcon.Request, resp: falcon.Response, trace_id: str) -> None:
    """Log a request that has an id of its caller, with the requestId of its job."""
    body = resp.media if isinstance(resp.media, dict) else {}
    fields = {"requestId": body["requestId"]} if "requestId" in body else {}
    path = req.uri_template or ""  # never the path itself: that of an ackUrl is a credential
    log.info(
        "request answered",
        extra={"httpRequestId": trace_id, "method": req.method, "path": path, "status": resp.status_code, **fields},
    )
