"""Submit: one job, or many."""

from __future__ import annotations

import time
from typing import Any

import falcon

from ..core import wire
from ..core.intake import Defaults, parse
from ..core.submission import Submission
from ..errors import InvalidRequest, RelayError
from ..relay import Accepted, Relay
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
        resp.media = _accepted(self._relay, accepted)
        resp.set_headers({"Location": f"/api/status/{accepted.job.request_id}", "Retry-After": "5"})
        if accepted.duplicate:
            resp.set_header("Idempotency-Replayed", "true")


class Bulk:
    """`POST /api/claude/bulk`: a verdict for each, 207; one bad item sinks no other, and all share one commit."""

    def __init__(self, relay: Relay, bodies: Bodies, defaults: Defaults) -> None:
        self._relay, self._bodies, self._defaults = relay, bodies, defaults

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        read = [self._read(item) for item in self._bodies.many(req)]
        good = [item for item in read if isinstance(item, Submission)]
        answers = iter(self._relay.submit_many(good, owner=caller.owner) if good else ())
        verdicts = [next(answers) if isinstance(item, Submission) else item for item in read]
        resp.status = "207 Multi-Status"
        resp.media = [self._verdict(index, verdict) for index, verdict in enumerate(verdicts)]

    def _read(self, item: Any) -> Submission | RelayError:
        if isinstance(item, RelayError):
            return item
        try:
            return parse(item, now=time.time(), defaults=self._defaults)
        except InvalidRequest as exc:
            return exc

    def _verdict(self, index: int, verdict: Accepted | RelayError) -> dict[str, Any]:
        if isinstance(verdict, RelayError):
            body = wire.error_body(verdict, problems=getattr(verdict, "problems", ()), now=time.time())
            return {"index": index, **body}
        # The item's own HTTP status stands apart: `status` is the job's, in words.
        return {"index": index, "statusCode": 202, **_accepted(self._relay, verdict)}


def _accepted(relay: Relay, accepted: Accepted) -> dict[str, Any]:
    return wire.accepted(
        accepted.job,
        now=time.time(),
        warnings=accepted.warnings,
        public_url=relay.policy.public_url,
        duplicate=accepted.duplicate,
    )
