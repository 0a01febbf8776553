"""Submit: one job, or many."""

from __future__ import annotations

import time

import falcon

from ..core.intake import Defaults, parse
from ..relay import Relay
from ..relay.asked import accepted_body, submit_bodies
from .auth import Caller
from .bodies import Bodies
from .waiting import Waiters, preferred_wait, send_result


class Claude:
    """`POST /api/claude`: 202 once the job is on disk."""

    def __init__(self, relay: Relay, bodies: Bodies, defaults: Defaults, waiters: Waiters) -> None:
        self._relay, self._bodies, self._defaults, self._waiters = relay, bodies, defaults, waiters

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        body, form = self._bodies.object(req)
        key = req.get_header("Idempotency-Key")
        submission = parse(body, now=time.time(), defaults=self._defaults, idempotency_key=key, form=form)
        accepted = self._relay.submit(submission, owner=caller.owner)

        if preferred_wait(req) is not None:
            result = self._waiters.result(req, resp, caller.ref(accepted.job.request_id, caller.owner))
            if result is not None:
                send_result(resp, result)
                return
        resp.status = falcon.HTTP_202
        resp.media = accepted_body(self._relay, accepted)
        resp.set_headers({"Location": f"/api/status/{accepted.job.request_id}", "Retry-After": "5"})
        if accepted.duplicate:
            resp.set_header("Idempotency-Replayed", "true")


class Bulk:
    """`POST /api/claude/bulk`: a verdict for each, 207; one bad item sinks no other, and all share one commit."""

    def __init__(self, relay: Relay, bodies: Bodies, defaults: Defaults) -> None:
        self._relay, self._bodies, self._defaults = relay, bodies, defaults

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        resp.status = "207 Multi-Status"
        resp.media = list(submit_bodies(self._relay, self._bodies.many(req), self._defaults, owner=caller.owner))
