"""Addresses that have answered 410: whoever submits with one is warned, while the job is accepted all the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ..core.jobs.submission import Submission
from ..core.wire import timestamp
from ..ports import Store, Transaction

#: Looked up anew after this long, in seconds, by the door and by senders, so that bursts do not pay for it; how many.
_FRESH, _STALE, _MOST = 0.25, 5.0, 10_000


class GoneEndpoints:
    """Knows which addresses are gone."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._known: dict[str, float] = {}

    def with_warnings(self, submission: Submission) -> Submission:
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

    def record(self, tx: Transaction, url: str, status: int | None) -> None:
        """What an address has answered: 410 is remembered until it takes something again."""
        if status == 410:
            tx.save_gone_address(url)
            with self._lock:
                self._known[url] = tx.now
        elif status is not None and 200 <= status < 300 and url in self._known_to(tx):
            tx.delete_gone_addresses(url=url)

    def _known_to(self, tx: Transaction) -> dict[str, float]:
        """As a sender knows them, who does not ask for each of thousands of deliveries."""
        with self._lock:
            if (now := self._clock()) - self._asked_at >= _STALE:
                self._known, self._asked_at = tx.gone_addresses(limit=_MOST), now
            return self._known

    def _gone(self) -> dict[str, float]:
        with self._lock:
            if self._clock() - self._asked_at < _FRESH:
                return self._known
        # Not under the lock: whoever writes may be waiting for it, and a look may have to wait for who writes.
        known = self._store.read(lambda tx: tx.gone_addresses(limit=_MOST))
        with self._lock:
            self._known, self._asked_at = known, self._clock()
            return known
