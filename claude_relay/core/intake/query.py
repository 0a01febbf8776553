"""Query parameters and action bodies that the HTTP API and the command line parse alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import InvalidRequest, Problem
from .. import wire
from ..jobs.job import State
from ..jobs.job_filter import JobFilter
from ..text.durations import parse_duration
from .body import parse_options
from .context import IntakeContext
from .passthrough import PASSTHROUGH
from .times import rfc_3339

#: Rows of one page: jobs or events.
MAX_LIMIT = 500


def parse_limit(limit: str | int | None, *, default: int) -> int:
    """The page size, 1 to 500; raises `InvalidRequest`."""
    if limit is None or limit == "":
        return default
    if isinstance(limit, str):
        limit = int(limit) if limit.isascii() and limit.isdigit() and len(limit) <= 6 else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(problems=[Problem(field="limit", problem=f"must be a whole number from 1 to {MAX_LIMIT}")])

    return limit


def parse_time_or_age(field: str, text: str | None, *, now: float) -> float | None:
    """A time, or a duration before `now`; None for an empty value. Raises `InvalidRequest` for anything else."""
    if not text:
        return None
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        return rfc_3339(text)
    except ValueError:
        problem = "must be a time such as 2026-01-15T10:30:00Z, or a duration such as 2h"
        raise InvalidRequest(problems=[Problem(field=field, problem=problem)]) from None


def job_filter(
    *, now: float, status: Sequence[str] = (), since: str | None = None, limit: str | int | None = None, **others: Any
) -> JobFilter:
    """
    The filter of a job listing.

    `status`: the four public words; `since`: a time or an age; `others` as in `JobFilter`.

    Raises `InvalidRequest` with every problem at once.
    """
    problems: list[Problem] = []
    states: list[State] = []
    for word in status:
        if word in wire.STATES:
            states.extend(wire.STATES[word])
        else:
            problems.append(Problem(field="status", problem=f"must be one of {', '.join(wire.STATES)}"))
    since_at, size = None, 50
    try:
        since_at = parse_time_or_age("since", since, now=now)
    except InvalidRequest as exc:
        problems.extend(exc.problems)
    try:
        size = parse_limit(limit, default=50)
    except InvalidRequest as exc:
        problems.extend(exc.problems)
    if problems:
        raise InvalidRequest(problems=problems)

    return JobFilter(states=states, since=since_at, limit=size, **others)


def parse_retry_options(options: Any, intake: IntakeContext, *, now: float) -> dict[str, Any] | None:
    """The options that a retry names, parsed; the others keep their values."""
    if not options:
        return None
    parsed, _ = parse_options(options, now=now, context=intake)

    chosen = {name: value for name, value in parsed.items() if name in options}
    if any(name in options for name in PASSTHROUGH) and "raw" in parsed:
        chosen["raw"] = parsed["raw"]
    if "raw" in options:
        chosen.setdefault("raw", {})  # an empty `raw` replaces the stored one
        if "model" in (options["raw"] or {}):
            chosen["model"] = parsed["model"]

    return chosen


def parse_redeliver_url(url: Any, check: Callable[[str], str | None]) -> str | None:
    """Another URL to deliver to, if one is given; raises `InvalidRequest` for an invalid one."""
    if url is None:
        return None
    problem = check(url) if isinstance(url, str) else "must be an http(s) URL"
    if problem:
        raise InvalidRequest(problems=[Problem(field="url", problem=problem)])

    return str(url)
