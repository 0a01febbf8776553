"""Points in time, as callers write them: RFC 3339 with an offset, or a length of time from now."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import datetime

from ..text.durations import parse_duration
from .fields import Fields

#: Nobody plans further ahead than this; a year typed wrong does.
MAX_AHEAD = 366 * 86_400.0

_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?",
    re.ASCII,
)
_DATE = re.compile(r"[0-9]{4}-", re.ASCII)
_EXAMPLE = "2026-01-15T10:30:00Z or 2026-01-15T11:30:00+01:00"


def read_start(fields: Fields, *, now: float) -> float | None:
    """`runAt` or `delay`: not before this; what is over already is now."""
    if fields.given("runAt") is not None and fields.given("delay") is not None:
        fields.problem("delay", "cannot stand beside runAt: give one of the two")
        return None

    delayed = _read(fields, "delay", _after, now=now)
    at = _read(fields, "runAt", _time, now=now)
    if at is not None and at < now:
        fields.notes.warn("runAt is in the past, so the job runs now")
        return now

    return delayed if at is None else at


def read_end(fields: Fields, name: str, *, now: float) -> float | None:
    """`deadline` or `needBy`: a time or a length of time, and ahead of now."""
    end = _read(fields, name, _either, now=now)
    if end is not None and end <= now:
        fields.problem(name, "is over already: it must be ahead of now")
        return None

    return end


def is_timestamp(text: str | None) -> bool:
    """Whether a time was written as a point in time, rather than as a length of time from now."""
    return text is not None and _DATE.match(text) is not None


def rfc_3339(text: str) -> float:
    """Seconds since 1970; ValueError with a sentence for a person otherwise."""
    found = _RFC_3339.fullmatch(text)
    if not found:
        raise ValueError(f"must be a time such as {_EXAMPLE}")
    day, minute, second, fraction, zulu, sign, hours, minutes = found.groups()
    if not zulu and not sign:
        raise ValueError(f"must name its time zone, as in {_EXAMPLE}")
    try:
        # A leap second is the second after; datetime has none.
        moment = datetime.strptime(f"{day} {minute}:{min(int(second), 59):02d}", "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise ValueError("is not a time that exists: look at the day and the hour") from None
    if int(second) > 60 or int(hours or 0) > 23 or int(minutes or 0) > 59:
        raise ValueError("is not a time that exists: look at the seconds and the time zone")

    offset = (int(hours or 0) * 60 + int(minutes or 0)) * 60 * (-1 if sign == "-" else 1)
    whole = calendar.timegm(moment.timetuple()) + max(0, int(second) - 59) - offset

    return whole + float(f"0.{fraction or 0}")


def _time(text: str, *, now: float) -> float:
    """A point in time and nothing else."""
    if not _DATE.match(text) and _is_span(text):
        raise ValueError("must be a point in time; a length of time goes into delay")

    return rfc_3339(text)


def _after(text: str, *, now: float) -> float:
    """A length of time and nothing else."""
    if _DATE.match(text):
        raise ValueError("must be a length of time such as 10m; a point in time goes into runAt")

    return now + parse_duration(text)


def _either(text: str, *, now: float) -> float:
    return rfc_3339(text) if _DATE.match(text) else now + parse_duration(text)


def _is_span(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False

    return True


def _read(fields: Fields, name: str, reader: Callable[..., float], *, now: float) -> float | None:
    text = fields.text(name)
    if text is None:
        return None
    try:
        at = reader(text.strip(), now=now)
    except ValueError as exc:
        fields.problem(name, str(exc))
        return None
    if at > now + MAX_AHEAD:
        fields.problem(name, "is too far ahead: at most 366 days")
        return None

    fields.clean[name] = text.strip()  # as it is written: `10m` sent again later is the same request
    return at
