"""What callers write and what they are answered, the same over HTTP and on the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..core import wire
from ..core.intake import IntakeContext, parse, parse_options
from ..core.intake.passthrough import PASSTHROUGH
from ..core.intake.times import rfc_3339
from ..core.intake.webhook import url_problem
from ..core.jobs.job import State
from ..core.jobs.submission import Submission
from ..core.keys import ADMIN
from ..core.text.durations import parse_duration
from ..errors import InvalidRequest, Problem, RelayError
from ..ports import JobFilter
from .context import Accepted, JobRef
from .relay import Relay

_STATES = {
    "pending": (State.QUEUED, State.HELD),
    "processing": (State.RUNNING, State.BATCHED),
    "completed": (State.COMPLETED,),
    "failed": (State.FAILED, State.CANCELLED),
}


def accepted_body(relay: Relay, accepted: Accepted, *, base: str | None = None) -> dict[str, Any]:
    """The 202. `base` is how the caller came here, where RELAY_PUBLIC_URL does not say it."""
    return wire.accepted(
        accepted.job,
        now=time.time(),
        warnings=accepted.warnings,
        base=relay.policy.public_url or base,
        duplicate=accepted.duplicate,
    )


def submit_bodies(
    relay: Relay,
    bodies: Sequence[Any | RelayError],
    defaults: IntakeContext,
    *,
    owner: str = ADMIN,
    base: str | None = None,
) -> Sequence[dict[str, Any]]:
    """Many at once, in one commit: a verdict for each in its place, `statusCode` as it would be answered alone."""

    def read(body: Any | RelayError) -> Submission | RelayError:
        if isinstance(body, RelayError):
            return body
        try:
            return parse(body, now=time.time(), context=defaults)
        except InvalidRequest as exc:
            return exc

    items = [read(body) for body in bodies]
    good = [item for item in items if isinstance(item, Submission)]
    answers = iter(relay.submit_many(good, owner=owner) if good else ())
    verdicts = [next(answers) if isinstance(item, Submission) else item for item in items]

    return [_verdict(relay, index, verdict, base) for index, verdict in enumerate(verdicts)]


def redeliver_many(relay: Relay, refs: Sequence[JobRef | RelayError], url: str | None) -> Sequence[dict[str, Any]]:
    """Stored results sent again: a verdict for each in its place; one that cannot be sinks no other."""

    def again(ref: JobRef | RelayError) -> dict[str, Any]:
        try:
            if isinstance(ref, RelayError):
                raise ref
            relay.redeliver(ref, url=url)
            return {"statusCode": 202, **relay.queries.status(ref)}
        except RelayError as exc:
            return {"statusCode": exc.status, **wire.error_body(exc, now=time.time())}

    return [{"index": index, **again(ref)} for index, ref in enumerate(refs)]


def parse_retry_options(options: Any, defaults: IntakeContext) -> dict[str, Any] | None:
    """Those that a retry names, parsed; what it does not name keeps its value."""
    if not options:
        return None
    read, _ = parse_options(options, now=time.time(), context=defaults)

    chosen = {name: value for name, value in read.items() if name in options}
    if any(name in options for name in PASSTHROUGH) and "raw" in read:
        chosen["raw"] = read["raw"]
    if "raw" in options:
        chosen.setdefault("raw", {})  # nothing of it was left, and it takes the place of what was there
        if "model" in (options["raw"] or {}):
            chosen["model"] = read["model"]

    return chosen


def check_url(url: Any, check: Callable[[str], str | None]) -> str | None:
    """An address to send to instead, or `InvalidRequest`."""
    if url is None:
        return None
    problem = (url_problem(url) or check(url)) if isinstance(url, str) else "must be an http(s) URL"
    if problem:
        raise InvalidRequest(problems=[Problem(field="url", problem=problem)])

    return str(url)


def job_filter(*, status: Sequence[str] = (), since: str | None = None, limit: int = 50, **rest: Any) -> JobFilter:
    """
    Which jobs to list. `status`: the four words of the wire; `since`: a time or a duration; the rest as in `JobFilter`.

    Raises `InvalidRequest` with all that is wrong.
    """
    problems = []
    states: list[State] = []
    for word in status:
        if word in _STATES:
            states.extend(_STATES[word])
        else:
            problems.append(Problem(field="status", problem=f"must be one of {', '.join(_STATES)}"))
    began = None
    try:
        began = parse_time_or_age("since", since)
    except InvalidRequest as exc:
        problems.extend(exc.problems)
    if not 1 <= limit <= 500:
        problems.append(Problem(field="limit", problem="must be a whole number from 1 to 500"))
    if problems:
        raise InvalidRequest(problems=problems)

    return JobFilter(states=states, since=began, limit=limit, **rest)


def parse_time_or_age(field: str, text: str | None) -> float | None:
    """A time, or how long ago; None where nothing is said, and `InvalidRequest` for what is neither."""
    if not text:
        return None
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass
    try:
        return rfc_3339(text)
    except ValueError:
        words = "must be a time such as 2026-01-15T10:30:00Z, or a duration such as 2h"
        raise InvalidRequest(problems=[Problem(field=field, problem=words)]) from None


def _verdict(relay: Relay, index: int, verdict: Accepted | RelayError, base: str | None) -> dict[str, Any]:
    if isinstance(verdict, RelayError):
        body = wire.error_body(verdict, problems=getattr(verdict, "problems", ()), now=time.time())
        return {"index": index, "statusCode": verdict.status, **body}
    # The item's own HTTP status stands apart: `status` is the job's, in words.
    return {"index": index, "statusCode": 202, **accepted_body(relay, verdict, base=base)}
