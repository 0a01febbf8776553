"""The receiver's last reply to a callback, and the command that can succeed after it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

_LENGTH = 200  # characters of the reply that are shown

_GONE = "Nothing listens at that URL any more, so the same URL will refuse it again."
_CURES = {
    413: "The receiver takes no body of that size: let it take 5 MB (docs/reference/callbacks.md, Receivers).",
    422: "The receiver takes no body of that form: let it take both callbacks, the one of an answer and the one of a "
    "failure (docs/reference/callbacks.md, Receivers).",
}


def last_reply(record: Mapping[str, Any]) -> str:
    """A sentence with the first line of the last reply; empty where there was none, or an empty one."""
    attempt = _last_attempt(record)
    text = _first_line(attempt.get("reply") or "") if attempt.get("statusCode") else ""

    return f" It answered {attempt['statusCode']}: “{text}”." if text else ""


def after_dead(record: Mapping[str, Any]) -> tuple[str, str]:
    """The cure for a delivery that was given up, and the command for it."""
    redeliver = f"claude-relay redeliver {record['requestId']}"
    attempt = _last_attempt(record)
    status = attempt.get("statusCode") or 0
    if 300 <= status < 400:
        location = re.match(r"Location: (https?://\S+)$", attempt.get("reply") or "", re.MULTILINE)
        target = shlex.quote(location[1]) if location else "URL"
        return " Redirects are not followed: send it to the URL itself.", f"{redeliver} --to {target}   (free)"
    if status in (404, 409, 410):
        return f" {_GONE}", f"{redeliver} --to URL   (free), or claude-relay result {record['requestId']}"

    return f" {_CURES[status]}" if status in _CURES else "", f"{redeliver}   (free)"


def _last_attempt(record: Mapping[str, Any]) -> Mapping[str, Any]:
    attempts = record.get("deliveries") or [{}]
    last: Mapping[str, Any] = attempts[-1]

    return last


def _first_line(text: str) -> str:
    """The first line with a word in it; of JSON over several lines, all in one."""
    lines = [line for line in text.splitlines() if line.strip()]
    line = " ".join(text.split()) if lines and not re.search(r"\w", lines[0]) else (lines or [""])[0].strip()

    return line if len(line) <= _LENGTH else f"{line[:_LENGTH]}…"
