"""Middleware for every request: authentication, rate limits, CORS and security headers."""

from __future__ import annotations

from typing import Any

import falcon

from ..config import Settings
from ..core.keys import Scope
from ..errors import Forbidden, Unauthorized
from .admission import ENVIRON, Admission
from .auth import KeyVerifier, authenticate
from .limits import RateLimiter, client_address

#: Paths without a key or a limit.
OPEN = ("/health", "/health/ready")
#: Paths whose token is the credential, without a limit: a wrong token costs a hash and no read of the store.
ACK = "/ack/"
_SUBMIT = ("/api/claude", "/api/claude/bulk")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_EXPOSED = (
    "Location, Retry-After, RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset,"
    " Idempotency-Replayed, Preference-Applied, X-Request-Id"
)
_ALLOWED = "X-API-Key, Authorization, Content-Type, Idempotency-Key, Prefer, X-Request-Id"


class Authentication:
    """Requires a key, and counts each request by its key, or by IP address if the key is wrong."""

    def __init__(self, verifier: KeyVerifier, settings: Settings) -> None:
        self._verifier = verifier
        self._submit = RateLimiter("submit", settings.rate_limit_submit)
        self._other = RateLimiter("general", settings.rate_limit)
        self._per_owner: dict[str, RateLimiter] = {}

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """
        Authenticate before routing, so that a client without a key cannot find out which paths exist.

        Where the body has not arrived yet this is all that is done; the complete request passes by the same decision.
        """
        admission: Admission = req.env.get(ENVIRON) or Admission()
        if not admission.decided:
            self._decide(admission, req, resp)
            admission.decided, admission.headers = True, dict(resp.headers)
        if admission.caller is not None:
            req.context.caller = admission.caller
        resp.set_headers(admission.headers)
        if admission.head_only:
            resp.status, resp.complete = falcon.HTTP_100, True

    def _decide(self, admission: Admission, req: falcon.Request, resp: falcon.Response) -> None:
        if req.path in OPEN or req.path.startswith(ACK) or req.method == "OPTIONS":
            admission.limit_body(req.content_length)
            return
        submits = req.path in _SUBMIT and req.method == "POST"
        try:
            caller = authenticate(req, self._verifier)
        except (Unauthorized, Forbidden):
            self._other.spend(f"address {client_address(req)}", resp)
            raise
        limiter = self._submit if submits else self._other
        if submits and caller.rate is not None:
            limiter = self._per_owner.setdefault(caller.owner, RateLimiter("submit", caller.rate))
        limiter.spend(f"key {caller.owner}", resp)
        scope = Scope.READ if req.method in ("GET", "HEAD") else Scope.SUBMIT
        if not caller.may(scope):
            raise Forbidden(f"This key may not do that: it lacks the scope {scope.value}.")
        admission.caller = caller


class ResponseHeaders:
    """CORS headers from ALLOWED_ORIGINS, security headers, and the caller's X-Request-Id."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origins)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a preflight request here: it carries no key."""
        if req.method == "OPTIONS" and req.get_header("Access-Control-Request-Method"):
            resp.status = falcon.HTTP_204
            resp.complete = True

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: Any, succeeded: bool) -> None:
        """Set the headers of every response, errors included."""
        resp.set_headers(_HEADERS)
        if resp.get_header("Cache-Control") is None:
            resp.set_header("Cache-Control", "no-store")
        request_id = req.get_header("X-Request-Id")
        if request_id and len(request_id) <= 128 and request_id.isascii() and request_id.isprintable():
            resp.set_header("X-Request-Id", request_id)
        origin = req.get_header("Origin")
        if origin is None or not (self._any or origin in self._origins):
            return
        resp.set_header("Access-Control-Allow-Origin", "*" if self._any else origin)
        resp.append_header("Vary", "Origin")
        resp.set_header("Access-Control-Expose-Headers", _EXPOSED)
        if req.method == "OPTIONS":
            resp.set_header("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
            resp.set_header("Access-Control-Allow-Headers", _ALLOWED)
            resp.set_header("Access-Control-Max-Age", "86400")
