"""Addresses that have answered 410: whoever submits with one is warned, while the job is accepted all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ..core.submission import Submission
from ..core.wire import timestamp
from ..ports import Store

#: Looked up anew after this long, in seconds, so that a burst of submits does not pay for it; and how many are known.
_FRESH, _MOST = 0.25, 10_000


class GoneAddresses:
    """Knows which addresses are gone."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._known: dict[str, float] = {}

    def warned(self, submission: Submission) -> Submission:
        """The same, with a warning for each of its addresses that is gone."""
        named = {"webhookUrl": submission.webhook_url, "failureWebhookUrl": submission.failure_webhook_url}
        if not any(named.values()) or not (known := self._gone()):
            return submission
        warnings = [
            f"{field} answered 410 (gone) at {timestamp(known[url])}: the callback will hardly be taken there; "
            f"the result stays at /api/result, and can be sent to another address with redeliver"
            for field, url in named.items()
            if url in known
        ]
        return replace(submission, warnings=(*submission.warnings, *warnings)) if warnings else submission

    def _gone(self) -> dict[str, float]:
        with self._lock:
            if (now := self._clock()) - self._asked_at >= _FRESH:
                self._known = self._store.read(lambda view: view.gone_addresses(limit=_MOST))
                self._asked_at = now
            return self._known
