"""Submit: one job, or many."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import falcon

from ..core.intake import IntakeContext
from ..core.jobs.submission import Submission, encode_long_prompt
from ..core.keys import Scope
from ..core.text.traceparent import parse_traceparent
from ..ports import Span, Tracer
from ..services import Accepted, Outcome, Relay
from .auth import Caller
from .deferred_response import ENVIRON as DEFERRED
from .deferred_response import MAX_BODY, DeferredResponse
from .metrics import AcceptTimer
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
        timer: AcceptTimer,
    ) -> None:
        self._tracer, self._timer = tracer, timer
        self._relay, self._bodies, self._intake, self._wait_slots = relay, bodies, intake, wait_slots
        self._clock = clock

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        began = time.perf_counter()
        caller: Caller = req.context.caller
        reads = caller.may(Scope.READ)
        deferred: DeferredResponse | None = req.env.get(DEFERRED)
        if deferred is not None and (accepted := deferred.accepted()) is not None:
            self._answer(req, resp, accepted, reads=reads)
            return
        body, form = self._bodies.object(req)
        check_body(caller, body)
        key = req.get_header("Idempotency-Key")
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
        del body
        submission = encode_long_prompt(submission)
        waits = preferred_wait(req) is not None
        defers = not waits and (req.content_length or 0) <= MAX_BODY
        span = _start_accept_span(self._tracer, req)
        if span.traceparent is not None:
            submission = replace(submission, traceparent=span.traceparent)
        with _ended_by_error(span):
            if (
                deferred is not None
                and defers
                and self._defer(deferred, req, resp, submission, caller.owner, began, span)
            ):
                return
            accepted = self._relay.submit(submission, owner=caller.owner)
        span.end()

        if waits and not reads:
            accepted = replace(accepted, warnings=(*accepted.warnings, _NO_WAIT))
        elif waits:
            result = self._wait_slots.result(req, resp, caller.ref(accepted.job.request_id, caller.owner))
            if result is not None:
                send_result(resp, result)
                return
        self._answer(req, resp, accepted, reads=reads)
        if not resp.get_header("Preference-Applied"):  # a wait for the answer is no part of it
            self._timer.observe(began)

    def _defer(
        self,
        deferred: DeferredResponse,
        req: falcon.Request,
        resp: falcon.Response,
        submission: Submission,
        owner: str,
        began: float,
        span: Span,
    ) -> bool:
        """Answer before the job is stored: the response waits for that, and no thread does. Then the span ends."""
        now = self._clock()
        prepared = self._relay.prepare_submit(submission, owner=owner, now=now)
        if prepared is None:
            return False

        def store(done: Callable[[Outcome], None]) -> None:
            def stored(outcome: Outcome) -> None:
                failed = isinstance(outcome, BaseException)
                span.end(error=type(outcome).__name__ if failed else None)
                if not failed:
                    self._timer.observe(began)
                done(outcome)

            prepared.store(stored)

        _set_answer(resp, self._relay.bulk.prepared_body(prepared, now=now, base=base_url(req)))
        deferred.store = store

        return True

    def _answer(self, req: falcon.Request, resp: falcon.Response, accepted: Accepted, *, reads: bool) -> None:
        base = base_url(req)
        _set_answer(resp, self._relay.bulk.accepted_body(accepted, now=self._clock(), base=base, show_state=reads))
        if accepted.duplicate:
            resp.set_header("Idempotency-Replayed", "true")


def _set_answer(resp: falcon.Response, answer: dict[str, Any]) -> None:
    resp.status, resp.media = falcon.HTTP_202, answer
    resp.set_headers({"Location": answer["statusUrl"], "Retry-After": "5"})


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
    span = _start_accept_span(tracer, req)
    with _ended_by_error(span):
        yield span.traceparent
    span.end()


@contextlib.contextmanager
def _ended_by_error(span: Span) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        span.end(error=type(exc).__name__)
        raise


def _start_accept_span(tracer: Tracer, req: falcon.Request) -> Span:
    parent = parse_traceparent(req.get_header("traceparent"))
    attributes = {"http.request.method": req.method, "http.route": req.uri_template}

    return tracer.start("claude_relay.accept", parent=parent, kind="server", attributes=attributes)


def base_url(req: falcon.Request) -> str | None:
    """Scheme and host of the request, or of a trusted proxy's header; None if they cannot form a URL."""
    host = req.netloc

    return f"{req.scheme}://{host}" if _HOST.fullmatch(host) else None
