"""Jobs: where they stand, what came of them, and the moves that a caller may ask for."""

from __future__ import annotations

import time
from typing import Any

import falcon

from ..core.durations import parse_duration
from ..core.ids import REQUEST_ID
from ..core.intake import Defaults, parse_options
from ..core.intake.times import rfc_3339
from ..core.job import State
from ..errors import InvalidRequest, NotFound, Problem
from ..ports import JobFilter
from ..relay import Ref, Relay
from .auth import Caller
from .bodies import Bodies
from .waiting import Waiters, send_result

_STATES = {
    "pending": (State.QUEUED, State.HELD),
    "processing": (State.RUNNING,),
    "completed": (State.COMPLETED,),
    "failed": (State.FAILED, State.CANCELLED),
}


def ref_of(req: falcon.Request, request_id: str) -> Ref:
    """The job that an address names; an impossible id names none."""
    caller: Caller = req.context.caller
    if not REQUEST_ID.fullmatch(request_id):
        raise NotFound(
            "There is no job by that name: a requestId has 1 to 128 letters, digits, dots, colons and dashes."
        )

    return caller.ref(request_id, req.get_param("owner"))


class Status:
    """`GET /api/status/{requestId}`."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        resp.media = self._relay.read.status(ref_of(req, request_id))


class Result:
    """`GET /api/result/{requestId}`: the callback's bytes, or 202 with the status."""

    def __init__(self, relay: Relay, waiters: Waiters) -> None:
        self._relay, self._waiters = relay, waiters

    def on_get(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        if (result := self._waiters.result(req, resp, ref)) is not None:
            send_result(resp, result)
            return
        resp.status = falcon.HTTP_202
        resp.set_header("Retry-After", "5")
        resp.media = self._relay.read.status(ref)


class Jobs:
    """`GET /api/jobs`: newest first, by keyset."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        page = self._relay.read.jobs(job_filter(req, caller))
        resp.media = {"jobs": list(page.jobs), "cursor": page.cursor}


def job_filter(req: falcon.Request, caller: Caller) -> JobFilter:
    """The filters as the query names them; all that is wrong with them at once."""
    problems: list[Problem] = []

    def problem(field: str, words: str) -> None:
        problems.append(Problem(field=field, problem=words))

    status = req.get_param("status") or ""
    states: list[State] = []
    for word in filter(None, status.split(",")):
        if word in _STATES:
            states.extend(_STATES[word])
        else:
            problem("status", f"must be one of {', '.join(_STATES)}")
    since = None
    if text := req.get_param("since"):
        try:
            since = time.time() - parse_duration(text)
        except ValueError:
            try:
                since = rfc_3339(text)
            except ValueError:
                problem("since", "must be a time such as 2026-01-15T10:30:00Z, or a duration such as 2h")
    limit = req.get_param("limit") or "50"
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:6]) <= 500):
        problem("limit", "must be a whole number from 1 to 500")
    cursor = req.get_param("cursor")
    if cursor and not (len(cursor) == 26 and cursor.isascii() and cursor.isalnum()):
        problem("cursor", "must be the cursor of the page before, as it was given")
    if problems:
        raise InvalidRequest(problems=problems)

    return JobFilter(
        owner=req.get_param("owner") if caller.sees_all else caller.owner,
        states=states,
        group=req.get_param("group") or None,
        since=since,
        text=req.get_param("q") or None,
        dead=req.get_param_as_bool("dead") or False,
        unacked=req.get_param_as_bool("unacked") or False,
        host=req.get_param("host") or None,
        before=cursor or None,
        limit=int(limit),
    )


class Record:
    """`GET /api/jobs/{requestId}`: all that is known of it."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        resp.media = self._relay.read.record(ref_of(req, request_id))


class Moves:
    """`POST /api/jobs/{requestId}/cancel`, `/retry` and `/redeliver`."""

    def __init__(self, relay: Relay, bodies: Bodies, defaults: Defaults) -> None:
        self._relay, self._bodies, self._defaults = relay, bodies, defaults

    def on_post_cancel(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        self._relay.cancel(ref)
        resp.media = self._relay.read.status(ref)

    def on_post_retry(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        body = self._bodies.optional(req)
        if unknown := sorted(set(body) - {"options"}):
            raise InvalidRequest(
                problems=[Problem(field=name, problem="cannot be changed by a retry") for name in unknown]
            )
        options: dict[str, Any] | None = None
        if body.get("options"):
            options, _ = parse_options(body["options"], now=time.time(), defaults=self._defaults)
            given = body["options"]
            # Only what was named replaces what is stored; the rest keeps its value.
            options = {name: value for name, value in options.items() if name in given}
        self._relay.retry(ref, options=options, model=(options or {}).get("model"))
        resp.status = falcon.HTTP_202
        resp.media = self._relay.read.status(ref)

    def on_post_redeliver(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        url = self._bodies.optional(req).get("url")
        if url is not None:
            fault = "must be an http(s) URL" if not isinstance(url, str) else self._defaults.check_url(url)
            if fault:
                raise InvalidRequest(problems=[Problem(field="url", problem=fault)])
        self._relay.redeliver(ref, url=url)
        resp.status = falcon.HTTP_202
        resp.media = self._relay.read.status(ref)
