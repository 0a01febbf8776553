"""Submit: one job, or many."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import falcon

from ..core.intake import IntakeContext
from ..core.keys import Scope
from ..core.text.traceparent import parse_traceparent
from ..ports import Tracer
from ..services import Relay
from .auth import Caller
from .prefer_wait import WaitSlots, preferred_wait, send_result
from .request_bodies import Bodies
from .scopes import check_body, checked_item

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

_NO_WAIT = "Prefer: wait was ignored: a result is read with the scope read, which this key lacks"


class Submit:
    """`POST /api/claude`: 202 once the job is on disk."""

    def __init__(
        self,
        relay: Relay,
        bodies: Bodies,
        intake: IntakeContext,
        wait_slots: WaitSlots,
        clock: Callable[[], float],
        tracer: Tracer,
    ) -> None:
        self._tracer = tracer
        self._relay, self._bodies, self._intake, self._wait_slots = relay, bodies, intake, wait_slots
        self._clock = clock

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        body, form = self._bodies.object(req)
        check_body(caller, body)
        key = req.get_header("Idempotency-Key")
        reads = caller.may(Scope.READ)
        submission = self._relay.templates.parse(
            body,
            owner=caller.owner,
            now=self._clock(),
            context=self._intake,
            idempotency_key=key,
            form=form,
            may_continue=reads,
            strict=not form,
        )
        with accept_span(self._tracer, req) as traceparent:
            if traceparent is not None:
                submission = replace(submission, traceparent=traceparent)
            accepted = self._relay.submit(submission, owner=caller.owner)

        waits = preferred_wait(req) is not None
        if waits and not reads:
            accepted = replace(accepted, warnings=(*accepted.warnings, _NO_WAIT))
        elif waits:
            result = self._wait_slots.result(req, resp, caller.ref(accepted.job.request_id, caller.owner))
            if result is not None:
                send_result(resp, result)
                return
        resp.status = falcon.HTTP_202
        resp.media = answer = self._relay.bulk.accepted_body(
            accepted, now=self._clock(), base=base_url(req), show_state=reads
        )
        resp.set_headers({"Location": answer["statusUrl"], "Retry-After": "5"})
        if accepted.duplicate:
            resp.set_header("Idempotency-Replayed", "true")


class SubmitBulk:
    """`POST /api/claude/bulk`: 207 with a result for each item; all share one commit, and an invalid one stops none."""

    def __init__(
        self, relay: Relay, bodies: Bodies, intake: IntakeContext, clock: Callable[[], float], tracer: Tracer
    ) -> None:
        self._relay, self._bodies, self._intake, self._clock = relay, bodies, intake, clock
        self._tracer = tracer

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        resp.status = "207 Multi-Status"
        bodies = [checked_item(caller, body) for body in self._bodies.many(req)]
        with accept_span(self._tracer, req) as traceparent:
            results = self._relay.bulk.submit_bodies(
                bodies,
                self._intake,
                now=self._clock(),
                owner=caller.owner,
                base=base_url(req),
                show_state=caller.may(Scope.READ),
                traceparent=traceparent,
            )
        resp.media = list(results)


@contextlib.contextmanager
def accept_span(tracer: Tracer, req: falcon.Request) -> Iterator[str | None]:
    """The span of storing what a request brings; yields the trace context to store with it."""
    parent = parse_traceparent(req.get_header("traceparent"))
    attributes = {"http.request.method": req.method, "http.route": req.uri_template}
    span = tracer.start("claude_relay.accept", parent=parent, kind="server", attributes=attributes)
    try:
        yield span.traceparent
    except Exception as exc:
        span.end(error=type(exc).__name__)
        raise
    span.end()


def base_url(req: falcon.Request) -> str | None:
    """Scheme and host of the request, or of a trusted proxy's header; None if they cannot form a URL."""
    host = req.netloc

    return f"{req.scheme}://{host}" if _HOST.fullmatch(host) else None
