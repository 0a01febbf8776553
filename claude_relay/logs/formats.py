"""Formats of log lines: JSON for machines, `key=value` for people."""

from __future__ import annotations

import json
import logging
import math
import re
import time
import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ..core.text.redaction import Redactor

LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

_RECORD_KEYS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_STANDARD_KEYS = ("timestamp", "level", "message", "service", "logger", "stack")


class JsonFormat(logging.Formatter):
    """One JSON object per line: the standard keys first, then the extras."""

    def __init__(self, service: str, redact: Redactor) -> None:
        super().__init__()
        self._service = service
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self.event(record), separators=(",", ":"))

    def event(self, record: logging.LogRecord) -> dict[str, Any]:
        """The keys and values of the line."""
        event: dict[str, Any] = {
            "timestamp": _utc(record.created),
            "level": _level(record),
            "message": self._redact(_message(record)),
            "service": self._service,
        }
        if not record.name.startswith("claude_relay"):
            event["logger"] = record.name
        for key, value in _extras(record).items():
            event[f"{key}_" if key in _STANDARD_KEYS else key] = _plain(value, self._redact)
        if stack := _stack(record):
            event["stack"] = self._redact(stack)

        return event


class JournalFormat(JsonFormat):
    """JSON after a priority prefix, which the journal removes; or native journal fields."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_priority(record)}>{super().format(record)}"

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        """
        The native journal fields: `requestId` becomes REQUEST_ID, so that `journalctl REQUEST_ID=…` finds it.

        The message is still the JSON line: `journalctl --output=cat` gives the content of a log file.
        """
        event = self.event(record)
        fields = {
            "MESSAGE": json.dumps(event, separators=(",", ":")),
            "PRIORITY": str(_priority(record)),
            "SYSLOG_IDENTIFIER": self._service,
        }
        for key, value in event.items():
            name = re.sub(r"[^A-Z0-9]+", "_", _CAMEL_CASE.sub("_", key).upper()).strip("_")[:64]
            if key not in _STANDARD_KEYS and name and not name[0].isdigit() and value is not None:
                fields.setdefault(name, value if isinstance(value, str) else json.dumps(value))

        return fields


class ConsoleFormat(logging.Formatter):
    """`10:42:07.123 info  job completed requestId=… ms=412`, with tracebacks indented below."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        clock = f"{time.strftime('%H:%M:%S', time.localtime(record.created))}.{int(record.msecs):03d}"
        parts = [clock, f"{_level(record):5}", _visible(self._redact(_message(record)))]
        for key, value in _extras(record).items():
            plain = _plain(value, self._redact)
            text = plain if isinstance(plain, str) and plain and " " not in plain else json.dumps(plain)
            parts.append(f"{_visible(key)}={_visible(text)}")

        stack = self._redact(_stack(record)).splitlines()
        return "\n".join([" ".join(parts), *(f"  | {_visible(line)}" for line in stack)])


def _priority(record: logging.LogRecord) -> int:
    """The syslog priority."""
    return {"error": 3, "warn": 4, "info": 6, "debug": 7}[_level(record)]


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(record: logging.LogRecord) -> str:
    return next((word for word, number in LEVELS.items() if record.levelno >= number), "debug")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _RECORD_KEYS}


def _stack(record: logging.LogRecord) -> str:
    lines = traceback.format_exception(*record.exc_info) if record.exc_info and record.exc_info[0] else []
    return "".join([*lines, record.stack_info or ""]).rstrip()


def _plain(value: Any, redact: Redactor, depth: int = 8) -> Any:
    """`value` as JSON types, with its strings redacted."""
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if depth and isinstance(value, Mapping):
        return {redact(str(key)): _plain(item, redact, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, redact, depth - 1) for item in value]

    return redact(str(value))


def _visible(text: str) -> str:
    """`text` with control and invisible characters escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
