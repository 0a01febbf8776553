"""Health: the process lives; and whether what it accepts will be worked on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import falcon

from ..core import wire
from ..errors import Problem, RelayError
from ..services import Relay


class Health:
    """`GET /health`: 200 as long as the process lives. The worker may be down: jobs are accepted all the same."""

    def __init__(self, environment: str) -> None:
        self._environment = environment
        self._started = time.monotonic()

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {
            "status": "healthy",
            "timestamp": wire.timestamp(time.time()),
            "uptime": round(time.monotonic() - self._started, 3),
            "environment": self._environment,
        }

    on_head = on_get


class Ready:
    """`GET /health/ready`: 200, or 503 with a reason each."""

    def __init__(self, relay: Relay, room: Callable[[], str | None]) -> None:
        self._relay, self._room = relay, room

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        problems = self._problems()
        resp.status = falcon.HTTP_503 if problems else falcon.HTTP_200
        if problems:
            resp.set_header("Retry-After", "10")
        resp.media = {
            "status": "unready" if problems else "ready",
            "timestamp": wire.timestamp(time.time()),
            "reasons": [str(problem) for problem in problems],
        }

    def _problems(self) -> Sequence[Problem]:
        problems = []
        if (full := self._room()) is not None:
            problems.append(Problem(field="disk", problem=full))
        try:
            self._relay.maintenance.set_shared("ready", wire.timestamp(time.time()))
            problems.extend(self._relay.queries.readiness_problems())
        except RelayError as exc:
            problems.append(Problem(field="store", problem=f"cannot be written: {exc}"))

        return problems
