"""`Prefer: wait=N` (RFC 7240): hold the response until the job has ended; bounded, since each wait holds a thread."""

from __future__ import annotations

import re
import threading
from typing import Any

import falcon

from ..services import JobRef, Relay

#: Longest wait, in seconds.
MAX_WAIT = 55.0
#: Waiting requests at once; each holds a thread of its own. Event streams hold none, and are counted apart.
MAX_WAITERS = 16

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)


class WaitSlots:
    """A limited number of waiting requests; further ones are answered at once."""

    def __init__(self, relay: Relay, limit: int, stopping: threading.Event) -> None:
        self._relay, self._stopping = relay, stopping
        self._slots = threading.BoundedSemaphore(limit) if limit else None

    def result(self, req: falcon.Request, resp: falcon.Response, ref: JobRef) -> bytes | None:
        """The result, after the wait that the caller prefers; None if the job has not ended by then."""
        seconds = preferred_wait(req)
        if seconds is None or self._slots is None or not self._slots.acquire(blocking=False):
            return self._relay.queries.result(ref)
        try:
            resp.set_header("Preference-Applied", f"wait={seconds:g}")
            self._relay.queries.wait(ref, timeout=seconds, until=self._is_over)
            return self._relay.queries.result(ref)
        finally:
            self._slots.release()

    def _is_over(self, status: dict[str, Any]) -> bool:
        """Whether the job has ended, or the server is stopping."""
        return self._stopping.is_set() or status["status"] in ("completed", "failed")


def preferred_wait(req: falcon.Request) -> float | None:
    """The preferred wait in seconds, or None."""
    header = req.get_header("Prefer")
    match = _WAIT.search(header) if header else None

    return min(float(match[1]), MAX_WAIT) if match else None


def send_result(resp: falcon.Response, result: bytes) -> None:
    """Answer with the bytes of the callback."""
    resp.status = falcon.HTTP_200
    resp.content_type = falcon.MEDIA_JSON
    resp.data = result
