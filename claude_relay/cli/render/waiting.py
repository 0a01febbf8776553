"""The message about a job that does not begin: no worker runs, or the queue is stopped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..client import RelayClient
    from .output import Output

#: Seconds until the first message, and between two looks.
FIRST, INTERVAL = 5.0, 15.0
#: Interval of polling for the start of a job, in seconds.
_POLL = 0.1


class WaitingNotice:
    """Says on stderr why nothing happens: once some seconds have passed, and whenever the reason changes."""

    def __init__(self, output: Output, client: RelayClient) -> None:
        self._output, self._client = output, client
        self._next, self._shown = time.monotonic() + FIRST, ""

    def look(self, status: dict[str, Any]) -> None:
        """Print the reason if the job waits for one; called repeatedly with its status."""
        if status["status"] != "pending" or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL
        reasons = list(self._client.readiness()) or ([status["waitingFor"]] if status.get("waitingFor") else [])
        text = "; ".join(reasons)
        if text and text != self._shown:
            self._output.message(f"{status['requestId']} still waits: {text}")
            self._shown = text

    def wait_for_start(self, request_id: str, until: float) -> dict[str, Any]:
        """Poll the status until the job runs or has ended, or until that monotonic time; returns it."""
        while (status := self._client.status(request_id))["status"] == "pending" and time.monotonic() < until:
            self.look(status)
            time.sleep(_POLL)

        return status
