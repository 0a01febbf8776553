"""Errors in the shape of Anthropic's; every message names the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SANDBOX_NAME = "claude-relay sandbox (not Anthropic)"

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class ApiError(Exception):
    """
    An error response: its status, its error type, and its headers.

    `name_last`: the message begins as Anthropic's does, because the relay reads that; the sandbox's name is at its end.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        name_last: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind or TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
        self.code = code
        self.name_last = name_last
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON of a response or of an `error` event."""
        message = f"{self} ({SANDBOX_NAME})" if self.name_last else f"{SANDBOX_NAME}: {self}"
        error: dict[str, Any] = {"type": self.kind, "message": message}
        if self.code:
            error["details"] = {"error_code": self.code}
        return {"type": "error", "error": error, "request_id": request_id}


def invalid(where: str, what: str) -> ApiError:
    """A 400 that names the field as Anthropic does: `messages.0.role: …`."""
    return ApiError(400, f"{where}: {what}")
