"""The scopes that each route needs: the one place that decides what a key may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.keys import Scope
from ..errors import Forbidden, RelayError
from .auth import Caller

_SUBMIT = frozenset((Scope.SUBMIT,))
_READ = frozenset((Scope.READ,))
#: A retry or a redelivery tells how the job ended, and sends its result to a URL of the caller's choice.
_BOTH = frozenset((Scope.SUBMIT, Scope.READ))
_METRICS = frozenset((Scope.METRICS,))
_ADMIN = frozenset((Scope.ADMIN,))
#: No key: the route is open, or its token is the credential.
_OPEN: frozenset[Scope] = frozenset()

#: The scopes of each route by method and path; a key needs all of them. HEAD needs what GET needs.
SCOPES: Mapping[tuple[str, str], frozenset[Scope]] = {
    ("POST", "/api/claude"): _SUBMIT,
    ("POST", "/api/claude/bulk"): _SUBMIT,
    ("POST", "/api/estimate"): _SUBMIT,
    ("GET", "/api/status/{requestId}"): _READ,
    ("GET", "/api/result/{requestId}"): _READ,
    ("GET", "/api/jobs"): _READ,
    ("GET", "/api/jobs/{requestId}"): _READ,
    ("POST", "/api/jobs/{requestId}/cancel"): _SUBMIT,
    ("POST", "/api/jobs/{requestId}/retry"): _BOTH,
    ("POST", "/api/jobs/{requestId}/redeliver"): _BOTH,
    ("POST", "/api/redeliver"): _BOTH,
    ("GET", "/api/jobs/{requestId}/events"): _READ,
    ("GET", "/api/events"): _READ,
    ("GET", "/api/templates"): _READ,
    ("GET", "/api/templates/{name}"): _READ,
    ("PUT", "/api/templates/{name}"): _SUBMIT,
    ("DELETE", "/api/templates/{name}"): _SUBMIT,
    ("GET", "/api/collections"): _READ,
    ("POST", "/api/collections"): _SUBMIT,
    ("GET", "/api/collections/{collectionId}"): _READ,
    ("POST", "/api/collections/{collectionId}/rows"): _SUBMIT,
    ("POST", "/api/collections/{collectionId}/close"): _SUBMIT,
    ("GET", "/api/collections/{collectionId}/results"): _READ,
    ("GET", "/api/collections/{collectionId}/events"): _READ,
    ("POST", "/api/collections/{collectionId}/cancel"): _SUBMIT,
    ("POST", "/api/collections/{collectionId}/retry"): _BOTH,
    ("POST", "/api/collections/{collectionId}/redeliver"): _BOTH,
    ("GET", "/api/groups/{group}"): _READ,
    ("POST", "/api/groups/{group}"): _ADMIN,
    ("POST", "/api/groups/{group}/pause"): _ADMIN,
    ("POST", "/api/groups/{group}/resume"): _ADMIN,
    ("GET", "/api/cost"): _READ,
    ("GET", "/api/overview"): _ADMIN,
    ("GET", "/api/moves"): _READ,
    ("POST", "/api/pause"): _ADMIN,
    ("POST", "/api/drain"): _ADMIN,
    ("POST", "/api/resume"): _ADMIN,
    ("GET", "/ack/{token}"): _OPEN,
    ("POST", "/ack/{token}"): _OPEN,
    ("GET", "/dashboard"): _OPEN,  # its pages check the scopes of the session
    ("GET", "/health"): _OPEN,
    ("GET", "/health/ready"): _OPEN,
    ("GET", "/metrics"): _METRICS,
    ("GET", "/"): _OPEN,
    ("GET", "/openapi.json"): _OPEN,
    ("GET", "/docs"): _OPEN,
    ("GET", "/docs/style.css"): _OPEN,
}


def check_route(caller: Caller, method: str, path: str) -> None:
    """Raise `Forbidden` for a key that lacks a scope of the route; a route without an entry is the admin's."""
    if caller.sees_all:
        return
    needed = SCOPES.get((method, path), _ADMIN)
    missing = sorted(scope.value for scope in needed if not caller.may(scope))
    if not missing:
        return
    if Scope.ADMIN in needed:
        raise Forbidden("Only the admin key may do this: it concerns the jobs of all owners.")
    raise Forbidden(f"This key may not do that: it lacks the scope {' and '.join(missing)}.")


def check_body(caller: Caller, body: Any) -> None:
    """Raise `Forbidden` for a `continueFrom` without the scope `read`: the new job would repeat the earlier answer."""
    named = isinstance(body, Mapping) and str(body.get("continueFrom") or "").strip()
    if named and not caller.may(Scope.READ):
        raise Forbidden("continueFrom is not allowed for this key: it reads an earlier job, and lacks the scope read.")


def checked_item(caller: Caller, body: Any | RelayError) -> Any | RelayError:
    """One body of a bulk request, or the error that `check_body` raises for it."""
    try:
        check_body(caller, body)
    except Forbidden as exc:
        return exc

    return body
