"""Query parameters and action bodies that the HTTP API and the command line parse alike."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ...errors import InvalidRequest, Problem
from .. import wire
from ..jobs.failure import ErrorType
from ..jobs.job_filter import JobFilter
from ..money.spend import GROUPINGS
from ..text.durations import parse_duration
from .body import parse_options
from .times import rfc_3339

if TYPE_CHECKING:
    from ..jobs.job import State
    from .context import IntakeContext

#: Rows of one page: jobs or events.
MAX_LIMIT = 500
_YES, _NO = (True, "true", "True", "1"), (None, False, "", "false", "False", "0")
_DAY_OR_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?", re.ASCII)
_LIMIT = re.compile(r"[0-9]{1,6}", re.ASCII)


@contextmanager
def collected(problems: list[Problem]) -> Iterator[None]:
    """Add what is raised in the block to `problems`, for one answer with all of them."""
    try:
        yield
    except InvalidRequest as exc:
        problems.extend(exc.problems)


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise `InvalidRequest` if there are problems."""
    if problems:
        raise InvalidRequest(problems=problems)


def parse_limit(limit: str | int | None, *, default: int) -> int:
    """The page size, 1 to 500; raises `InvalidRequest`."""
    if limit is None or limit == "":
        return default
    if isinstance(limit, str):
        limit = int(limit) if _LIMIT.fullmatch(limit) else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest.at("limit", f"must be a whole number from 1 to {MAX_LIMIT}")

    return limit


def parse_page_cursor(cursor: str | None) -> str | None:
    """The cursor of a page of jobs or collections, which is an id of 26 characters; raises `InvalidRequest`."""
    if not cursor:
        return None
    if not (len(cursor) == 26 and cursor.isascii() and cursor.isalnum()):
        raise InvalidRequest.at("cursor", "must be that of the page before, unchanged")

    return cursor


def parse_grouping(by: str) -> str:
    """The name by which a cost is summed; raises `InvalidRequest`."""
    if by not in GROUPINGS:
        raise InvalidRequest.at("by", f"must be one of {', '.join(GROUPINGS)}")

    return by


def parse_time_or_age(field: str, text: str | None, *, now: float, end: bool = False) -> float | None:
    """
    A time, a day or month in UTC, or a duration before `now`; None for an empty value.

    A day or a month stands for its beginning, with `end` for its end. Raises `InvalidRequest` for anything else.
    """
    if not text:
        return None
    if (span := _day_or_month(text)) is not None:
        return span[1] if end else span[0]
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        return rfc_3339(text)
    except ValueError:
        problem = "must be a time such as 2026-01-15T10:30:00Z, a day or month such as 2026-01-15, or an age such as 2h"
        raise InvalidRequest.at(field, problem) from None


def _day_or_month(text: str) -> tuple[float, float] | None:
    """The beginning of a day (`2026-01-15`) or month (`2026-01`) in UTC, and that of the next one."""
    match = _DAY_OR_MONTH.fullmatch(text)
    if match is None:
        return None
    try:
        start = datetime.strptime(text, "%Y-%m-%d" if match[1] else "%Y-%m").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    length = 1 if match[1] else calendar.monthrange(start.year, start.month)[1]

    return start.timestamp(), start.timestamp() + length * 86_400.0


def job_filter(
    *,
    now: float,
    status: Any = (),
    error: Any = (),
    since: Any = None,
    until: Any = None,
    limit: str | int | None = None,
    cursor: str | None = None,
    **others: Any,
) -> JobFilter:
    """
    The filter of a job listing, from strings.

    `status`: the four public words, `error`: values of errorType, each separated by commas or as a list; `since` and
    `until`: a time, a day, a month or an age; `cursor`: that of the page before; `others` as in `JobFilter`.

    Raises `InvalidRequest` with every problem at once.
    """
    problems: list[Problem] = []
    states: list[State] = []
    errors: list[ErrorType] = []
    times: dict[str, float | None] = {}
    size, before = 50, None
    for word in _words(status):
        if word in wire.STATES:
            states.extend(wire.STATES[word])
        else:
            problems.append(Problem(field="status", problem=f"must be one of {', '.join(wire.STATES)}"))
    for word in _words(error):
        try:
            errors.append(ErrorType(word))
        except ValueError:
            problems.append(Problem(field="error", problem=f"must be one of {', '.join(e.value for e in ErrorType)}"))
    for name, text in (("since", since), ("until", until)):
        with collected(problems):
            times[name] = parse_time_or_age(name, None if text is None else str(text), now=now, end=name == "until")
    with collected(problems):
        size = parse_limit(limit, default=50)
    with collected(problems):
        before = parse_page_cursor(cursor)
    for name in ("group", "key", "model", "host"):
        others[name] = others.get(name) or None
        if not isinstance(others[name], str | None):
            problems.append(Problem(field=name, problem="must be a string"))
    for name in ("dead", "unacked"):
        value = others.get(name)
        others[name] = value in _YES
        if value not in (*_YES, *_NO):
            problems.append(Problem(field=name, problem="must be true or false"))
    raise_problems(problems)
    since, until = times["since"], times["until"]

    return JobFilter(states=states, errors=errors, limit=size, since=since, until=until, before=before, **others)


def _words(value: Any) -> Sequence[str]:
    """The words of a list, or of a text with commas."""
    words = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]

    return [str(word).strip() for word in words if word not in (None, "")]


def parse_retry_options(options: Any, intake: IntakeContext, *, now: float) -> dict[str, Any] | None:
    """The options that a retry names, parsed; the others keep their values."""
    if not options:
        return None
    parsed, _ = parse_options(options, now=now, context=intake)

    chosen = {name: value for name, value in parsed.items() if name in options}
    if "raw" in parsed:
        chosen["raw"] = parsed["raw"]  # also where an option beside `raw` has made it
    elif "raw" in options:
        chosen["raw"] = {}  # replaces the stored one
    if "model" in (options.get("raw") or {}):
        chosen["model"] = parsed["model"]

    return chosen


def parse_redeliver_url(url: Any, check: Callable[[str], str | None]) -> str | None:
    """Another URL to deliver to, if one is given; raises `InvalidRequest` for an invalid one."""
    if url is None:
        return None
    problem = check(url) if isinstance(url, str) else "must be an http(s) URL"
    if problem:
        raise InvalidRequest.at("url", problem)

    return str(url)
