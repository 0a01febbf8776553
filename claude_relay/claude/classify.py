"""
Classification of upstream errors (the table of `CONTRACT.md` §5), as a pure function.

By status, `error.type` and `error.details.error_code`. The message text decides in one case only: some limits of the
account come as an ordinary 400 or 403 without a code (`_ACCOUNT_TEXT`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..core.jobs.failure import ErrorType, Failure, Remedy
from ..core.text.redaction import Redactor
from .rate_limits import RateLimits, retry_after

#: Status of each `error.type`, for errors inside a 200 stream.
_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

#: Error types that take precedence over the HTTP status, because they affect more than one job.
_STRONG = frozenset(("authentication_error", "billing_error", "rate_limit_error", "overloaded_error"))

#: Error codes of the key or its budget, whatever the status: every other job would fail with them, too.
_PARKING = frozenset(
    (
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
        "linked_organization_billing_unavailable",
        "credit_balance",
        "usage_limit",
    )
)
_ON_HOLD = "organization_on_hold"

#: Limits of the account that come as a 400 or 403 without a code, by the first words of Anthropic's sentence. Only its
#: beginning counts, and no validation error does: those quote field names, which a caller could choose.
_ACCOUNT_TEXT = (
    (re.compile(r"your credit balance is too low\b", re.IGNORECASE), "credit_balance"),
    (
        re.compile(
            r"(you(r \w+)? (have|has) (reached|exceeded)|this request would exceed) (your|its|the) "
            r"([\w'’-]+ ){0,4}(usage|spend|spending|budget|credit|quota) ?(limits?)?\b",
            re.IGNORECASE,
        ),
        "usage_limit",
    ),
    (re.compile(r"(this|your) (organization|account) (has been|is) (disabled|on hold)\b", re.IGNORECASE), _ON_HOLD),
)
#: A key that was taken back, in the words of a 403: nothing else can be asked with it either.
_KEY_REVOKED = re.compile(
    r"(this|your|the) (api )?(key|token) (has been|is|was) (disabled|deactivated|revoked|expired|deleted|archived)\b",
    re.IGNORECASE,
)
_VALIDATION = re.compile(r": (extra inputs are not permitted|field required|input should be)\b", re.IGNORECASE)
_REGAIN = re.compile(r"\bregain access on (\d{4}-\d\d-\d\d)(?: at (\d\d:\d\d) UTC)?")

_RULES: dict[int, tuple[ErrorType, Remedy, str]] = {
    400: (ErrorType.INVALID_REQUEST, Remedy.FAIL, "Claude refused the request as it is"),
    401: (ErrorType.PERMISSION, Remedy.PARK, "Anthropic does not accept the relay's ANTHROPIC_API_KEY"),
    402: (ErrorType.BUDGET, Remedy.PARK, "Anthropic's billing stops the relay's key: see the plan and credit there"),
    403: (ErrorType.PERMISSION, Remedy.FAIL, "the relay's key may not do this at Anthropic"),
    404: (ErrorType.NOT_FOUND, Remedy.FAIL, "Anthropic does not know that model or file"),
    408: (ErrorType.TIMEOUT, Remedy.RETRY, "Anthropic gave up waiting for the request"),
    409: (ErrorType.UPSTREAM, Remedy.RETRY, "Anthropic was busy with a conflicting request"),
    413: (ErrorType.TOO_LARGE, Remedy.FAIL, "the request is larger than Anthropic takes: send smaller or fewer files"),
    422: (ErrorType.INVALID_REQUEST, Remedy.FAIL, "Claude refused the request as it is"),
    429: (ErrorType.RATE_LIMIT, Remedy.THROTTLE, "Anthropic's rate limit is reached"),
    504: (ErrorType.TIMEOUT, Remedy.RETRY, "Claude took too long to answer"),
    529: (ErrorType.OVERLOADED, Remedy.THROTTLE, "Claude is overloaded at the moment"),
}
_SERVER = (ErrorType.UPSTREAM, Remedy.RETRY, "Anthropic had an error of its own")
_CLIENT = (ErrorType.INVALID_REQUEST, Remedy.FAIL, "Anthropic refused the request")
_REDIRECTS = (301, 302, 303, 307, 308)
_REDIRECT = (
    ErrorType.UPSTREAM,
    Remedy.RETRY,
    "the server at ANTHROPIC_BASE_URL answers with a redirect, which is not followed: set it to the address that it"
    " leads to",
)
_NOT_ANTHROPIC = (ErrorType.UPSTREAM, Remedy.RETRY, "the server at ANTHROPIC_BASE_URL did not answer as Anthropic does")
_SPENT = (ErrorType.BUDGET, Remedy.PARK, "the spend limit of the relay's Anthropic account is reached")

_HELD = (ErrorType.PERMISSION, Remedy.PARK, "Anthropic has put the relay's organization on hold")

_REDACT = Redactor()
_MAX_LENGTH = 500


def classify(
    *,
    status: int | None,
    kind: str | None = None,
    code: str | None = None,
    text: str = "",
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    began: bool = False,
    now: float,
) -> Failure:
    """
    Return the `Failure` for an error.

    `status` is the HTTP status of an error response, None for an error event inside a stream. `began`: Claude had begun
    to write, so that another attempt may be billed twice. `now` is wall-clock time, for dates in headers.
    """
    headers = headers or {}
    effective = _STATUS_OF[kind] if kind in _STRONG or (status is None and kind in _STATUS_OF) else status or 500
    if effective in (400, 403) and not code and _KEY_REVOKED.match(text.strip()):
        effective = 401
    code = code or (_account_limit(text) if effective in (400, 403) else None)
    type_, remedy, words = _HELD if code == _ON_HOLD else _SPENT if code in _PARKING else _rule(effective)
    wait = None
    if remedy is Remedy.PARK:
        wait = _reset_delay(details or {}, text, now=now)
    elif remedy in (Remedy.THROTTLE, Remedy.RETRY):
        wait = retry_after(headers, now=now)
        if wait is None and effective == 429:
            wait = RateLimits.parse(headers, now=now).exhausted_for(now)
    if began and remedy is not Remedy.PARK:
        remedy = Remedy.RETRY
        words += " while it wrote the answer"

    return Failure(
        type=type_,
        message=f"{words}: {detail}" if (detail := presentable(text)) else words,
        remedy=remedy,
        retry_after=wait,
        ambiguous=began,
        reason=code or (f"http_{status}" if status is not None else f"stream_{kind or 'error'}"),
    )


def presentable(text: str) -> str:
    """
    The upstream's message on one line, shortened, with anything that looks like a key redacted.

    Zero bytes and halves of characters, which not every store can keep, become question marks.
    """
    text = text.replace("\0", "?").encode("utf-8", "replace").decode()
    line = _REDACT(" ".join(text.split()))

    return line if len(line) <= _MAX_LENGTH else line[: _MAX_LENGTH - 1] + "…"


def _rule(status: int) -> tuple[ErrorType, Remedy, str]:
    if status in _RULES:
        return _RULES[status]
    if status in _REDIRECTS:
        return _REDIRECT
    if status >= 500:
        return _SERVER

    return _CLIENT if status >= 400 else _NOT_ANTHROPIC


def _account_limit(text: str) -> str | None:
    """The limit of the account that an error without a code tells of in words, or None."""
    if _VALIDATION.search(text):
        return None

    return next((reason for pattern, reason in _ACCOUNT_TEXT if pattern.match(text.strip())), None)


def _reset_delay(details: Mapping[str, Any], text: str, *, now: float) -> float | None:
    """Seconds until a limit resets: a date in an error's details, under any key, or in its words."""
    dates = [value for value in details.values() if isinstance(value, str) and "T" in value]
    if (named := _REGAIN.search(text)) is not None:
        dates.append(f"{named[1]}T{named[2] or '00:00'}+00:00")
    for date in dates:
        try:
            resets_at = datetime.fromisoformat(date.replace("Z", "+00:00"))
            wait = resets_at.timestamp() - now if resets_at.tzinfo is not None else 0.0
        except (ValueError, OverflowError):
            continue
        if wait > 0:
            return wait

    return None
