"""What holds for every request: the key, the limits, CORS and the security headers."""

from __future__ import annotations

from typing import Any

import falcon

from ..config import Settings
from ..core.keys import Scope
from ..errors import Forbidden, Unauthorized
from .auth import KeyVerifier, authenticate
from .limits import RateLimiter, client_address

#: Open to everyone, and never limited.
OPEN = ("/health", "/health/ready")
#: Open to whoever has a token, and never limited: a wrong one costs a hash and no look into the store.
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
    """Lets a request in with a key, and counts it: by its key, or by its address where that was wrong."""

    def __init__(self, authority: KeyVerifier, settings: Settings) -> None:
        self._authority = authority
        self._submit = RateLimiter("submit", settings.rate_limit_submit)
        self._other = RateLimiter("general", settings.rate_limit)
        self._own: dict[str, RateLimiter] = {}

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Before routing, so that a stranger learns nothing of which addresses exist."""
        if req.path in OPEN or req.path.startswith(ACK) or req.method == "OPTIONS":
            return
        submits = req.path in _SUBMIT and req.method == "POST"
        try:
            caller = authenticate(req, self._authority)
        except (Unauthorized, Forbidden):
            self._other.spend(f"address {client_address(req)}", resp)
            raise
        limit = self._submit if submits else self._other
        if submits and caller.rate is not None:
            limit = self._own.setdefault(caller.owner, RateLimiter("submit", caller.rate))
        limit.spend(f"key {caller.owner}", resp)
        if not caller.may(needed := Scope.READ if req.method in ("GET", "HEAD") else Scope.SUBMIT):
            raise Forbidden(f"This key may not do that: it lacks the scope {needed.value}.")
        req.context.caller = caller


class ResponseHeaders:
    """CORS from ALLOWED_ORIGINS, security headers, and the caller's X-Request-Id said back."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origins)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """A preflight is answered here: it carries no key."""
        if req.method == "OPTIONS" and req.get_header("Access-Control-Request-Method"):
            resp.status = falcon.HTTP_204
            resp.complete = True

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: Any, succeeded: bool) -> None:
        """On every answer, errors too."""
        resp.set_headers(_HEADERS)
        if resp.get_header("Cache-Control") is None:
            resp.set_header("Cache-Control", "no-store")
        known = req.get_header("X-Request-Id")
        if known and len(known) <= 128 and known.isascii() and known.isprintable():
            resp.set_header("X-Request-Id", known)
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
