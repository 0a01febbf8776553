"""Parsing of times: RFC 3339 with an offset, or a duration from now."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from ..text.durations import parse_duration

if TYPE_CHECKING:
    from .fields import Fields

#: A later time is most likely a mistyped year.
MAX_AHEAD = 366 * 86_400.0

_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?",
    re.ASCII,
)
_START = frozenset(("runAt", "delay"))
_DATE = re.compile(r"[0-9]{4}-", re.ASCII)
_EXAMPLE = "2026-01-15T10:30:00Z or 2026-01-15T11:30:00+01:00"


def read_start(fields: Fields, *, now: float) -> float | None:
    """The earliest start from `runAt` or `delay`; a time in the past means now."""
    if not fields.has_any(_START):
        return None
    if fields.given("runAt") is not None and fields.given("delay") is not None:
        fields.problem("delay", "cannot be combined with runAt: send one of the two")
        return None

    delayed = _read(fields, "delay", _duration, now=now)
    at = _read(fields, "runAt", _timestamp, now=now)
    if at is not None and at < now:
        fields.notes.warn("runAt is in the past, so the job runs now")
        return now

    return delayed if at is None else at


def read_end(fields: Fields, name: str, *, now: float) -> float | None:
    """The time from `deadline` or `needBy`: a timestamp or a duration, in the future."""
    end = _read(fields, name, _either, now=now)
    if end is not None and end <= now:
        fields.problem(name, "is in the past")
        return None

    return end


def is_timestamp(text: str | None) -> bool:
    """Whether a time was written as a timestamp rather than as a duration."""
    return text is not None and _DATE.match(text) is not None


def rfc_3339(text: str) -> float:
    """Parse a timestamp to seconds since 1970; `ValueError` with the problem otherwise."""
    match = _RFC_3339.fullmatch(text)
    if not match:
        raise ValueError(f"must be a time such as {_EXAMPLE}")
    day, minute, second, fraction, zulu, sign = match.groups()[:6]
    if not zulu and not sign:
        raise ValueError(f"must have a time zone, as in {_EXAMPLE}")
    try:
        # A leap second becomes the following second; datetime has none.
        moment = datetime.strptime(f"{day} {minute}:{min(int(second), 59):02d}", "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise ValueError("is not an existing time: check the day and the hour") from None
    hours, minutes = (int(match[7]), int(match[8])) if sign else (0, 0)
    if int(second) > 60 or hours > 23 or minutes > 59:
        raise ValueError("is not an existing time: check the seconds and the time zone")

    offset = (hours * 60 + minutes) * 60
    seconds = calendar.timegm(moment.timetuple()) + max(0, int(second) - 59) + (offset if sign == "-" else -offset)

    return seconds + float(f"0.{fraction or 0}")


def _timestamp(text: str, *, now: float) -> float:  # noqa: ARG001 - called like `_duration`
    if not _DATE.match(text) and _is_duration(text):
        raise ValueError("must be a timestamp; use delay for a duration")

    return rfc_3339(text)


def _duration(text: str, *, now: float) -> float:
    if _DATE.match(text):
        raise ValueError("must be a duration such as 10m; use runAt for a timestamp")

    return now + parse_duration(text)


def _either(text: str, *, now: float) -> float:
    return rfc_3339(text) if _DATE.match(text) else now + parse_duration(text)


def _is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False

    return True


def _read(fields: Fields, name: str, parse: Callable[..., float], *, now: float) -> float | None:
    text = fields.string(name)
    if text is None:
        return None
    try:
        at = parse(text.strip(), now=now)
    except ValueError as exc:
        fields.problem(name, str(exc))
        return None
    if at > now + MAX_AHEAD:
        fields.problem(name, "is too far in the future: the maximum is 366 days")
        return None

    fields.clean[name] = text.strip()  # as written: `10m` sent again later is the same request
    return at
