"""Jobs: where they stand, what came of them, and the moves that a caller may ask for."""

from __future__ import annotations

from typing import Any

import falcon

from ..core.intake import IntakeContext
from ..core.text.ids import REQUEST_ID
from ..errors import InvalidRequest, NotFound, Problem, RelayError
from ..ports import JobFilter
from ..services import JobRef, Relay
from ..services.bulk import check_url, job_filter, parse_retry_options, redeliver_many
from .auth import Caller
from .prefer_wait import WaitSlots, send_result
from .request_bodies import MOST, Bodies


def ref_of(req: falcon.Request, request_id: str) -> JobRef:
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
        resp.media = self._relay.queries.status(ref_of(req, request_id))


class Result:
    """`GET /api/result/{requestId}`: the callback's bytes, or 202 with the status."""

    def __init__(self, relay: Relay, waiters: WaitSlots) -> None:
        self._relay, self._waiters = relay, waiters

    def on_get(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        if (result := self._waiters.result(req, resp, ref)) is not None:
            send_result(resp, result)
            return
        resp.status = falcon.HTTP_202
        resp.set_header("Retry-After", "5")
        resp.media = self._relay.queries.status(ref)


class Jobs:
    """`GET /api/jobs`: newest first, by keyset."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        page = self._relay.queries.jobs(parse_filter(req, caller))
        resp.media = {"jobs": list(page.jobs), "cursor": page.cursor}


def parse_filter(req: falcon.Request, caller: Caller) -> JobFilter:
    """The filters as the query names them."""
    limit, cursor = req.get_param("limit") or "50", req.get_param("cursor") or None
    if not (limit.isascii() and limit.isdigit()):
        raise InvalidRequest(problems=[Problem(field="limit", problem="must be a whole number from 1 to 500")])
    if cursor and not (len(cursor) == 26 and cursor.isascii() and cursor.isalnum()):
        problem = "must be the cursor of the page before, as it was given"
        raise InvalidRequest(problems=[Problem(field="cursor", problem=problem)])

    return job_filter(
        owner=req.get_param("owner") if caller.sees_all else caller.owner,
        status=[word for word in (req.get_param("status") or "").split(",") if word],
        group=req.get_param("group") or None,
        since=req.get_param("since") or None,
        text=req.get_param("q") or None,
        dead=req.get_param_as_bool("dead") or False,
        unacked=req.get_param_as_bool("unacked") or False,
        host=req.get_param("host") or None,
        before=cursor,
        limit=int(limit[:6]),
    )


class JobDetails:
    """`GET /api/jobs/{requestId}`: all that is known of it."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        resp.media = self._relay.queries.job_details(ref_of(req, request_id))


class JobActions:
    """`POST /api/jobs/{requestId}/cancel`, `/retry` and `/redeliver`."""

    def __init__(self, relay: Relay, bodies: Bodies, defaults: IntakeContext) -> None:
        self._relay, self._bodies, self._defaults = relay, bodies, defaults

    def on_post_cancel(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        self._relay.cancel(ref)
        resp.media = self._relay.queries.status(ref)

    def on_post_retry(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        body = self._bodies.optional(req)
        _only(body, "options", "cannot be changed by a retry")
        options = parse_retry_options(body.get("options"), self._defaults)
        self._relay.retry(ref, options=options, model=(options or {}).get("model"))
        resp.status = falcon.HTTP_202
        resp.media = self._relay.queries.status(ref)

    def on_post_redeliver(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        body = self._bodies.optional(req)
        _only(body, "url", "is not known here: url is")
        self._relay.redeliver(ref, url=check_url(body.get("url"), self._defaults.check_url))
        resp.status = falcon.HTTP_202
        resp.media = self._relay.queries.status(ref)


def _only(body: dict[str, Any], known: str, otherwise: str) -> None:
    """Another field than that one is refused: what it was meant to change would not be changed, in silence."""
    if unknown := sorted(set(body) - {known}):
        raise InvalidRequest(problems=[Problem(field=name, problem=otherwise) for name in unknown])


class Redeliver:
    """`POST /api/redeliver`: up to 1,000 stored results sent again, a verdict each; it counts as one request."""

    def __init__(self, relay: Relay, bodies: Bodies, defaults: IntakeContext) -> None:
        self._relay, self._bodies, self._defaults = relay, bodies, defaults

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = self._bodies.optional(req)
        given = body.get("requestIds")
        names = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
        problems = [
            Problem(field=name, problem="is not known here: requestIds and url are")
            for name in sorted(set(body) - {"requestIds", "url"})
        ]
        if not 1 <= len(names) <= MOST or names != given:
            problems.append(Problem(field="requestIds", problem=f"must be a list of 1 to {MOST:,} requestIds"))
        if problems:
            raise InvalidRequest(problems=problems)
        url = check_url(body.get("url"), self._defaults.check_url)

        def ref(name: str) -> JobRef | RelayError:
            try:
                return ref_of(req, name)
            except NotFound as exc:
                return exc

        resp.status = "207 Multi-Status"
        resp.media = redeliver_many(self._relay, [ref(name) for name in names], url)
