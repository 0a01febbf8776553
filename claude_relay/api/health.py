"""Liveness of the API process, and readiness of the relay to run the jobs that it accepts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import falcon

from ..core import wire
from ..errors import Problem, RelayError
from ..services import Relay


class Health:
    """`GET /health`: 200 as long as the process lives. Jobs are accepted even while no worker runs."""

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

    def __init__(self, relay: Relay, disk_problem: Callable[[], str | None]) -> None:
        self._relay, self._disk_problem = relay, disk_problem

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
        if (disk := self._disk_problem()) is not None:
            problems.append(Problem(field="disk", problem=disk))
        try:
            self._relay.maintenance.set_shared("ready", wire.timestamp(time.time()))
            problems.extend(self._relay.queries.readiness_problems())
        except RelayError as exc:
            problems.append(Problem(field="store", problem=f"cannot be written: {exc}"))

        return problems
