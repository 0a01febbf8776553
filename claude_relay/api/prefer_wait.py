"""`Prefer: wait=N` (RFC 7240): answer when the job has ended, if that is soon; bounded, since each holds a thread."""

from __future__ import annotations

import re
import threading
from typing import Any

import falcon

from ..services import JobRef, Relay

LONGEST = 55.0


class WaitSlots:
    """How many may wait at once; beyond that nobody does."""

    def __init__(self, relay: Relay, most: int, leaving: threading.Event) -> None:
        self._relay, self._leaving = relay, leaving
        self._places = threading.BoundedSemaphore(most) if most else None

    def result(self, req: falcon.Request, resp: falcon.Response, ref: JobRef) -> bytes | None:
        """The result, waited for as long as the caller prefers; None if it is not there by then."""
        seconds = preferred_wait(req)
        if seconds is None or self._places is None or not self._places.acquire(blocking=False):
            return self._relay.queries.result(ref)
        try:
            resp.set_header("Preference-Applied", f"wait={seconds:g}")
            self._relay.queries.wait(ref, timeout=seconds, until=self._over)
            return self._relay.queries.result(ref)
        finally:
            self._places.release()

    def _over(self, status: dict[str, Any]) -> bool:
        """Ended; or the server stops, and nobody may wait any longer."""
        return self._leaving.is_set() or status["status"] in ("completed", "failed")


def preferred_wait(req: falcon.Request) -> float | None:
    """Seconds, or None where the caller does not want to wait."""
    match = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", req.get_header("Prefer") or "", re.IGNORECASE)

    return min(float(match[1]), LONGEST) if match else None


def send_result(resp: falcon.Response, result: bytes) -> Any:
    """The callback's own bytes."""
    resp.status = falcon.HTTP_200
    resp.content_type = falcon.MEDIA_JSON
    resp.data = result
