"""Error responses: one shape for all errors, of the relay and of falcon."""

from __future__ import annotations

import json
import logging
import secrets
import time
from typing import Any

import falcon

from ..core import wire
from ..errors import (
    Busy,
    Damaged,
    InvalidRequest,
    NotFound,
    RelayError,
    StoreRefused,
    TooLarge,
    Unauthorized,
    UnsupportedMedia,
)
from .middleware import ACK, http_request_id

log = logging.getLogger(__name__)

_PROBLEM = "application/problem+json"
_BY_STATUS: dict[int, tuple[type[RelayError], str]] = {
    400: (InvalidRequest, "The request cannot be read."),
    404: (NotFound, "There is no such path here. The API begins at /api/claude."),
    413: (TooLarge, "The body is too large."),
    415: (
        UnsupportedMedia,
        "Send JSON (application/json) or a form (application/x-www-form-urlencoded, multipart/form-data).",
    ),
}


def install(app: falcon.App[Any, Any]) -> None:
    """Make the app answer every error in the contract's shape."""
    app.add_error_handler(Exception, _on_exception)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(RelayError, _on_relay_error)


def _on_relay_error(req: falcon.Request, resp: falcon.Response, exc: RelayError, _params: dict[str, Any]) -> None:
    if isinstance(exc, StoreRefused | Damaged):
        log.critical("store refused", extra={"error": str(exc)})
    _send(req, resp, wire.error_body(exc, problems=getattr(exc, "problems", ()), now=time.time()))
    if isinstance(exc, Busy):
        resp.set_header("Retry-After", str(max(1, round(exc.retry_after))))
    if isinstance(exc, Unauthorized):
        resp.set_header("WWW-Authenticate", 'ApiKey realm="claude-relay"')


def _on_http_error(req: falcon.Request, resp: falcon.Response, exc: falcon.HTTPError, _params: dict[str, Any]) -> None:
    default = (InvalidRequest, exc.description or exc.title or "The request failed.")
    error_type, message = _BY_STATUS.get(exc.status_code, default)
    if exc.status_code == 405:
        message = f"{req.method} is not possible here; see the Allow header."
    elif exc.status_code == 400 and exc.description:
        message = exc.description
    body = wire.error_body(error_type(message), now=time.time())
    if exc.status_code not in _BY_STATUS:
        body |= {"status": exc.status_code, "type": "method_not_allowed" if exc.status_code == 405 else "http"}
    if exc.headers:
        resp.set_headers(exc.headers)
    _send(req, resp, body)


def _on_exception(req: falcon.Request, resp: falcon.Response, exc: Exception, _params: dict[str, Any]) -> None:
    """Answer a bug of the relay with an id that the log has, too, and no details."""
    error_id = secrets.token_hex(6)
    # The token in the path of an ackUrl is a credential, which never goes into the log.
    path = req.uri_template if req.path.startswith(ACK) else req.path
    fields = {"errorId": error_id, "method": req.method, "path": path, "httpRequestId": http_request_id(req)}
    log.error("request failed", exc_info=exc, extra=fields)
    body = wire.error_body(RelayError(f"Internal error. Look for {error_id} in the log."), now=time.time())
    _send(req, resp, {**body, "errorId": error_id})


def _send(req: falcon.Request, resp: falcon.Response, body: dict[str, Any]) -> None:
    resp.status = body["status"]
    resp.content_type = falcon.MEDIA_JSON
    if _PROBLEM in (req.get_header("Accept") or ""):
        resp.content_type = _PROBLEM
        body = {"title": body["type"].replace("_", " "), "detail": body["message"], "instance": req.path, **body}
    resp.set_header("Cache-Control", "no-store")
    resp.data = json.dumps(body).encode()
