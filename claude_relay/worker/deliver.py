"""Deliveries, in threads of their own: claim what is due, sign, POST, and say what came of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .. import failpoints
from ..core.delivery import Delivery, DeliveryState, Reply, destination_of
from ..core.signing import sign
from ..errors import LeaseLost
from ..ports import Sender
from ..relay import Relay, ToSend
from .loops import Loop

log = logging.getLogger(__name__)

SENDERS = 32
#: No more at once to one destination, so that one that hangs leaves senders for the others.
PER_DESTINATION = 4
_LOOK = 1.0


class Deliveries:
    """Sends what is due."""

    def __init__(
        self,
        relay: Relay,
        sender: Sender,
        *,
        worker: str,
        secrets: tuple[str, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._relay, self._sender, self._worker = relay, sender, worker
        self._secrets, self._clock = secrets, clock
        self._pool = ThreadPoolExecutor(max_workers=SENDERS, thread_name_prefix="send")
        self._lock = threading.Condition()
        self._busy = 0
        self._loop = Loop("deliveries", self._round)

    def start(self) -> None:
        """Send from now on."""
        self._loop.start()

    def wake(self) -> None:
        """A run has ended: there may be something to send."""
        self._loop.wake()

    def stop(self, timeout: float) -> None:
        """Begin nothing more, and let what is being sent end, for that many seconds."""
        self._loop.stop()
        with self._lock:
            self._lock.wait_for(lambda: self._busy == 0, timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _round(self) -> float:
        with self._lock:
            free = SENDERS - self._busy
        due = self._relay.post.next_due()
        if free == 0 or due is None:
            return _LOOK
        if (wait := due - self._clock()) > 0:
            return min(_LOOK, max(0.005, wait))

        claimed = self._relay.post.claim(self._worker, limit=free, per_destination=PER_DESTINATION)
        for one in claimed:
            with self._lock:
                self._busy += 1
            self._pool.submit(self._send, one)

        # What is left waits for a sender or for its destination; whichever ends wakes this loop.
        return 0.0 if len(claimed) == free else _LOOK

    def _send(self, one: ToSend) -> None:
        try:
            delivery = one.delivery
            failpoints.hit("deliver.before_post")
            reply = self._sender.post(delivery.url, one.body, self._headers(one))
            failpoints.hit("deliver.after_post")
            self._log(one, self._relay.post.settle(one, reply), reply)
        except LeaseLost:
            log.warning("delivery was taken over", extra={"requestId": one.request_id})
        except Exception:
            # Its lease runs out, and it is sent again under the same webhook-id.
            log.exception("a sender failed", extra={"requestId": one.request_id})
        finally:
            with self._lock:
                self._busy -= 1
                self._lock.notify_all()
            self._loop.wake()

    def _headers(self, one: ToSend) -> dict[str, str]:
        return {**one.headers, **sign(one.delivery.webhook_id, self._clock(), one.body, self._secrets)}

    def _log(self, one: ToSend, after: Delivery, reply: Reply) -> None:
        told = {
            "requestId": one.request_id,
            "host": destination_of(after.url),
            "statusCode": reply.status,
            "ms": reply.ms,
            "attempt": after.attempts,
            "error": reply.error,
        }
        level = logging.ERROR if after.state is DeliveryState.DEAD else logging.INFO
        log.log(level, f"delivery {after.state.value}", extra=told)
