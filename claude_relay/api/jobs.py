"""Jobs: list, status, result, details, and the actions on one job."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import falcon

from ..core.intake import IntakeContext
from ..core.intake.query import collected, job_filter, parse_redeliver_url, parse_retry_options, raise_problems
from ..core.jobs.job_filter import FILTERS, JobFilter, with_defaults
from ..core.keys import Scope
from ..core.text.ids import REQUEST_ID
from ..errors import Conflict, NotFound, Problem, RelayError
from ..services import JobRef, Relay
from .auth import Caller
from .prefer_wait import WaitSlots, send_result
from .request_bodies import MAX_ITEMS, Bodies


def ref_of(req: falcon.Request, request_id: str) -> JobRef:
    """The job that a path names; raises `NotFound` for an id that no job can have."""
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

    def __init__(self, relay: Relay, wait_slots: WaitSlots) -> None:
        self._relay, self._wait_slots = relay, wait_slots

    def on_get(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        if (result := self._wait_slots.result(req, resp, ref)) is not None:
            send_result(resp, result)
            return
        resp.status = falcon.HTTP_202
        resp.set_header("Retry-After", "5")
        resp.media = self._relay.queries.status(ref)


class Jobs:
    """`GET /api/jobs`: newest first, by keyset."""

    def __init__(self, relay: Relay, clock: Callable[[], float]) -> None:
        self._relay, self._clock = relay, clock

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        page = self._relay.queries.jobs(parse_filter(req, caller, now=self._clock()))
        resp.media = {"jobs": list(page.jobs), "cursor": page.cursor}


def parse_filter(req: falcon.Request, caller: Caller, *, now: float) -> JobFilter:
    """The filter in the query string."""
    return job_filter(
        now=now,
        owner=req.get_param("owner") if caller.sees_all else caller.owner,
        text=req.get_param("q") or None,
        cursor=req.get_param("cursor"),
        limit=req.get_param("limit"),
        **{name: req.get_param(name) for name in FILTERS if req.get_param(name)},
    )


class JobDetails:
    """`GET /api/jobs/{requestId}`: status, request, calls, deliveries and events."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        resp.media = self._relay.queries.job_details(ref_of(req, request_id))


class JobActions:
    """`POST /api/jobs/{requestId}/cancel`, `/retry` and `/redeliver`."""

    def __init__(self, relay: Relay, bodies: Bodies, intake: IntakeContext, clock: Callable[[], float]) -> None:
        self._relay, self._bodies, self._intake, self._clock = relay, bodies, intake, clock

    def on_post_cancel(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        caller: Caller = req.context.caller
        if not caller.may(Scope.READ):
            resp.media = _cancel_without_state(self._relay, ref)
            return
        self._relay.cancel(ref)
        resp.media = self._relay.queries.status(ref)

    def on_post_retry(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        body = self._bodies.optional(req)
        problems, options = _unknown_fields(body, ("options",), "cannot be changed by a retry"), None
        with collected(problems):
            options = parse_retry_options(body.get("options"), self._intake, now=self._clock())
        raise_problems(problems)
        self._relay.retry(ref, options=options, model=(options or {}).get("model"))
        resp.status = falcon.HTTP_202
        resp.media = self._relay.queries.status(ref)

    def on_post_redeliver(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        body = self._bodies.optional(req)
        problems, url = _unknown_fields(body, ("url",), "is not a field here: only url is"), None
        with collected(problems):
            url = parse_redeliver_url(body.get("url"), self._intake.check_url)
        raise_problems(problems)
        self._relay.redeliver(ref, url=url)
        resp.status = falcon.HTTP_202
        resp.media = self._relay.queries.status(ref)


class Redeliver:
    """
    `POST /api/redeliver`: up to 1,000 stored results sent again, a result each; it counts as one request.

    The body names the jobs by `requestIds`, or by the filters of `GET /api/jobs`.
    """

    def __init__(self, relay: Relay, bodies: Bodies, intake: IntakeContext, clock: Callable[[], float]) -> None:
        self._relay, self._bodies, self._intake, self._clock = relay, bodies, intake, clock

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = self._bodies.optional(req)
        filters = {name: body[name] for name in FILTERS if body.get(name)}
        fields = "is not a field here: use requestIds and url, or filters and url"
        problems = _unknown_fields(body, ("requestIds", "url", *FILTERS), fields)
        given = body.get("requestIds")
        names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
        if filters and given is not None:
            problems.append(Problem(field="requestIds", problem=f"cannot be combined with {', '.join(filters)}"))
        elif not filters and (not 1 <= len(names) <= MAX_ITEMS or names != given):
            problem = f"must be a list of 1 to {MAX_ITEMS:,} requestIds; or use filters such as host and since"
            problems.append(Problem(field="requestIds", problem=problem))
        which, url = None, None
        with collected(problems):
            which = self._filter(req, filters) if filters else None
        with collected(problems):
            url = parse_redeliver_url(body.get("url"), self._intake.check_url)
        raise_problems(problems)
        refs = self._relay.queries.refs(which) if which else [_ref_or_error(req, name) for name in names]

        resp.status = "207 Multi-Status"
        resp.media = self._relay.bulk.redeliver_many(refs, url, now=self._clock())

    def _filter(self, req: falcon.Request, filters: dict[str, Any]) -> JobFilter:
        caller: Caller = req.context.caller
        owner = req.get_param("owner") if caller.sees_all else caller.owner
        which = job_filter(now=self._clock(), owner=owner, **with_defaults("redeliver", filters))

        return replace(which, limit=MAX_ITEMS)


def _cancel_without_state(relay: Relay, ref: JobRef) -> dict[str, Any]:
    """Cancel for a key that may not read: neither the answer nor an error tells the state."""
    try:
        relay.cancel(ref)
    except Conflict:
        raise Conflict(f"job {ref.request_id} can no longer be cancelled") from None
    except NotFound:
        raise NotFound(f"There is no job {ref.request_id} here that can be cancelled.") from None

    return {"requestId": ref.request_id, "message": "Cancellation accepted"}


def _ref_or_error(req: falcon.Request, request_id: str) -> JobRef | RelayError:
    try:
        return ref_of(req, request_id)
    except NotFound as exc:
        return exc


def _unknown_fields(body: dict[str, Any], fields: Collection[str], problem: str) -> list[Problem]:
    """A problem for each other field, which would otherwise be ignored in silence."""
    return [Problem(field=name, problem=problem) for name in sorted(set(body) - set(fields))]
