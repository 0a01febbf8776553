"""Deliveries, in threads of their own: claim what is due, sign, POST, and say what came of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from .. import failpoints
from ..core.deliveries.delivery import Delivery, DeliveryState, Reply, destination_of
from ..core.deliveries.signing import sign
from ..core.text.redaction import Redactor
from ..errors import LeaseLost, StoreUnavailable
from ..ports import Sender
from ..services import ClaimedDelivery, Relay
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: POSTs at once in one worker, each with a thread. They wait rather than work: what they cost is memory, some 100 kB.
SENDERS = 64
#: What other processes have made due is seen within this, in seconds.
_LOOK = 0.5
#: A store that cannot be written is tried again after so long, in seconds: what was answered must not be forgotten.
_STORE_PAUSE = 1.0


class DeliverySender:
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
        self._in_hand: dict[str, ClaimedDelivery] = {}
        self._stopping = threading.Event()
        self._renew_every = relay.policy.webhook_lease / 4
        self.loop = PeriodicThread("deliveries", self._round)
        self._renewal = PeriodicThread("delivery-leases", self._renew)
        self.loops = (self.loop, self._renewal)

    def start(self) -> None:
        """Send from now on."""
        self.loop.start()
        self._renewal.start()

    def wake(self) -> None:
        """A run has ended: there may be something to send."""
        self.loop.wake()

    def stop(self, timeout: float) -> None:
        """Begin nothing more, and let what is being sent end, for that many seconds."""
        self.loop.stop()
        with self._lock:
            self._lock.wait_for(lambda: not self._in_hand, timeout)
        self._stopping.set()
        self._renewal.stop()
        # What is still under way is taken back by whoever finds this worker's lock free, and sent again.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _round(self) -> float:
        with self._lock:
            free = SENDERS - len(self._in_hand)
        due = self._relay.deliveries.next_due() if free else None
        if due is None:
            return _LOOK
        if (wait := due - self._clock()) > 0:
            return min(_LOOK, max(0.005, wait))

        claimed = self._relay.deliveries.claim(self._worker, limit=free, senders=SENDERS)
        with self._lock:
            self._in_hand.update((one.delivery.id, one) for one in claimed)
        for number, one in enumerate(claimed):
            try:
                self._pool.submit(self._send, one)
            except RuntimeError:  # no thread to be had: what cannot be sent goes back, and the next round comes later
                self._hand_back(claimed[number:])
                raise

        # What is left waits for a sender or for its destination; whichever ends wakes this loop.
        return 0.0 if claimed else _LOOK

    def _hand_back(self, unsent: Sequence[ClaimedDelivery]) -> None:
        with self._lock:
            for one in unsent:
                self._in_hand.pop(one.delivery.id, None)
        for one in unsent:
            self._relay.deliveries.release(one)

    def _renew(self) -> float:
        """Those in hand, and no other: what a sender has lost hold of must run out."""
        with self._lock:
            held = list(self._in_hand.values())
        self._relay.deliveries.renew(held)

        return self._renew_every

    def _send(self, one: ClaimedDelivery) -> None:
        try:
            failpoints.hit("deliver.before_post")
            reply = self._post(one)
            failpoints.hit("deliver.after_post")
            self._log(one, self._settled(one, reply), reply)
        except LeaseLost:
            log.warning("delivery was taken over", extra={"requestId": one.request_id})
        except Exception:
            # Its lease runs out, and it is sent again under the same webhook-id.
            log.exception("a sender failed", extra={"requestId": one.request_id})
        finally:
            with self._lock:
                self._in_hand.pop(one.delivery.id, None)
                self._lock.notify_all()
            self.loop.wake()

    def _post(self, one: ClaimedDelivery) -> Reply:
        delivery = one.delivery
        if one.headers is None:
            why = "not called: its webhookHeaders cannot be read without the key file that was beside the store"
            return Reply(error=why, local_fault=True)
        headers = {**one.headers, **sign(delivery.webhook_id, self._clock(), one.body, self._secrets)}
        reply = self._sender.post(delivery.url, one.body, headers)

        # A receiver that echoes what it gets must not bring the caller's keys into the record.
        redact = Redactor(tuple(one.headers.values()))
        return replace(reply, excerpt=redact.cut_off(reply.excerpt)) if one.headers else reply

    def _settled(self, one: ClaimedDelivery, reply: Reply) -> Delivery:
        """
        Write down what came of it, however long the store cannot be written.

        A reply that is forgotten is a callback sent twice. Meanwhile the lease is renewed as for any in hand.
        """
        while True:
            try:
                return self._relay.deliveries.record_attempt(one, reply)
            except StoreUnavailable as exc:
                log.warning("store unavailable", extra={"requestId": one.request_id, "error": str(exc)})
                if self._stopping.wait(_STORE_PAUSE):
                    raise

    def _log(self, one: ClaimedDelivery, after: Delivery, reply: Reply) -> None:
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
