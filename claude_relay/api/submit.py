"""Submit: one job, or many."""

from __future__ import annotations

import re
import time

import falcon

from ..core.intake import IntakeContext, parse
from ..services import Relay
from ..services.bulk import accepted_body, submit_bodies
from .auth import Caller
from .prefer_wait import WaitSlots, preferred_wait, send_result
from .request_bodies import Bodies

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class Submit:
    """`POST /api/claude`: 202 once the job is on disk."""

    def __init__(self, relay: Relay, bodies: Bodies, defaults: IntakeContext, waiters: WaitSlots) -> None:
        self._relay, self._bodies, self._defaults, self._waiters = relay, bodies, defaults, waiters

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        asked, form = self._bodies.object(req)
        key = req.get_header("Idempotency-Key")
        submission = parse(asked, now=time.time(), context=self._defaults, idempotency_key=key, form=form)
        accepted = self._relay.submit(submission, owner=caller.owner)

        if preferred_wait(req) is not None:
            result = self._waiters.result(req, resp, caller.ref(accepted.job.request_id, caller.owner))
            if result is not None:
                send_result(resp, result)
                return
        resp.status = falcon.HTTP_202
        resp.media = body = accepted_body(self._relay, accepted, base=base_url(req))
        resp.set_headers({"Location": body["statusUrl"], "Retry-After": "5"})
        if accepted.duplicate:
            resp.set_header("Idempotency-Replayed", "true")


class SubmitBulk:
    """`POST /api/claude/bulk`: a verdict for each, 207; one bad item sinks no other, and all share one commit."""

    def __init__(self, relay: Relay, bodies: Bodies, defaults: IntakeContext) -> None:
        self._relay, self._bodies, self._defaults = relay, bodies, defaults

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        resp.status = "207 Multi-Status"
        bodies, base = self._bodies.many(req), base_url(req)
        resp.media = list(submit_bodies(self._relay, bodies, self._defaults, owner=caller.owner, base=base))


def base_url(req: falcon.Request) -> str | None:
    """Scheme and host as the caller wrote them, or as a trusted proxy says; None where they cannot be part of a URL."""
    return f"{req.scheme}://{req.netloc}" if _HOST.fullmatch(req.netloc) else None
