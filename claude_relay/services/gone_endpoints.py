"""URLs that have answered 410: a submission that names one gets a warning, and is accepted all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.wire import timestamp

if TYPE_CHECKING:
    from ..core.jobs.submission import Submission
    from ..ports import Store, Transaction

#: Seconds after which a submission and a sender read the URLs again, so that bursts do not pay for it.
_FRESH, _STALE = 0.25, 5.0
#: URLs that are read.
_LIMIT = 10_000


class GoneEndpoints:
    """A short-lived cache of the URLs that answer 410 (gone)."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._expired: dict[str, float] = {}

    def with_warnings(self, submission: Submission) -> Submission:
        """The submission with a warning for each of its URLs that answers 410."""
        urls = {"webhookUrl": submission.webhook_url, "failureWebhookUrl": submission.failure_webhook_url}
        if not any(urls.values()) or not (expired := self._fresh()):
            return submission
        warnings = [
            f"{field} answered 410 (gone) at {timestamp(expired[url])}: the callback will hardly be accepted there; "
            f"the result stays at /api/result, and can be sent to another URL with redeliver"
            for field, url in urls.items()
            if url in expired
        ]
        return replace(submission, warnings=(*submission.warnings, *warnings)) if warnings else submission

    def record(self, tx: Transaction, url: str, status: int | None) -> None:
        """Remember a 410 until the URL accepts a delivery again."""
        if status == 410:
            tx.save_gone_url(url)
            with self._lock:
                self._expired[url] = tx.now
        elif status is not None and 200 <= status < 300 and url in self._for_sender(tx):
            tx.delete_gone_urls(url=url)

    def _for_sender(self, tx: Transaction) -> dict[str, float]:
        """The URLs as a sender needs them, which does not read them for each of thousands of deliveries."""
        with self._lock:
            if (now := self._clock()) - self._read_at >= _STALE:
                self._expired, self._read_at = tx.gone_urls(limit=_LIMIT), now
            return self._expired

    def _fresh(self) -> dict[str, float]:
        with self._lock:
            if self._clock() - self._read_at < _FRESH:
                return self._expired
        # Not under the lock: a writer may wait for it in `record`, and this read may have to wait for that writer.
        expired = self._store.read(lambda tx: tx.gone_urls(limit=_LIMIT))
        with self._lock:
            self._expired, self._read_at = expired, self._clock()
            return expired
