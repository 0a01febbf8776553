"""Sending of due deliveries, in threads of its own: claim, sign, POST, record the attempt."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from .. import failpoints
from ..core.deliveries.delivery import Delivery, DeliveryState, Reply, destination_of
from ..core.deliveries.destination import HealthSignal, health_signal, is_quick
from ..core.deliveries.signing import sign
from ..core.text.redaction import Redactor
from ..errors import LeaseLost, StoreUnavailable
from ..ports import NoTracer, Sender, Tracer
from ..services import ClaimedDelivery, Relay
from .meters import Meters
from .outage import STORE
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: POSTs at once in one worker, a thread each. They mostly wait: the cost is memory, some 100 kB each.
SENDERS = 64
#: Seconds within which deliveries that other processes made due are claimed.
_POLL = 1.0
#: Seconds for which a claim waits for the POSTs in flight, so that those that end together are followed by one claim.
_GATHER = 0.01
#: Seconds between attempts to record a reply in an unavailable store: a reply must not be lost.
_STORE_PAUSE = 1.0


class DeliverySender:
    """Sends due deliveries."""

    def __init__(
        self,
        relay: Relay,
        sender: Sender,
        *,
        worker: str,
        secrets: tuple[str, ...] = (),
        meters: Meters | None = None,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._meters, self._tracer = meters, tracer or NoTracer()
        self._relay, self._sender, self._worker = relay, sender, worker
        self.secrets, self._clock = secrets, clock
        self._pool = ThreadPoolExecutor(max_workers=SENDERS, thread_name_prefix="send")
        self._lock = threading.Condition()
        self._in_flight: dict[str, ClaimedDelivery] = {}
        self._sending: Counter[str] = Counter()  # POSTs to each destination
        self._waiting: dict[str, deque[ClaimedDelivery]] = {}  # leased, behind those POSTs; in flight, too
        self._replies: list[tuple[ClaimedDelivery, Reply]] = []  # that are not recorded yet; still in flight
        self._draining = False
        self._claimed_at = float("-inf")
        self._stopping = threading.Event()
        self._renew_every = relay.policy.webhook_lease / 4
        self.loop = PeriodicThread("deliveries", self._round, pause_after_fault=_STORE_PAUSE)
        self._renewal = PeriodicThread("delivery-leases", self._renew)
        self.loops = (self.loop, self._renewal)

    def start(self) -> None:
        """Start to send."""
        self.loop.start()
        self._renewal.start()

    def wake(self) -> None:
        """Look for due deliveries now, as a run has ended."""
        self.loop.wake()

    def stop(self, timeout: float) -> None:
        """Claim no more, and wait up to `timeout` seconds for the POSTs in flight."""
        self.loop.stop()
        with self._lock:
            self._draining = True
            replies, self._replies = self._replies, []
            unsent = [item for items in self._waiting.values() for item in items]
            self._waiting.clear()
        self._release(unsent)
        self._record_apart(replies)
        with self._lock:
            self._lock.wait_for(lambda: not self._in_flight, timeout)
        self._stopping.set()
        self._renewal.stop()
        # A POST still in flight is taken back by the worker that finds this one's lock free, and sent again.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _round(self) -> float:
        with self._lock:
            replies = self._replies[:]
            free = SENDERS - len(self._in_flight) + len(replies)
            waiting = sum(map(len, self._waiting.values()))
            quick = self._quick_destinations(replies)
        if (replies or free < SENDERS) and (pause := self._claimed_at + _GATHER - self._monotonic()) > 0:
            return pause
        # A reply is recorded, and its successor claimed with it; without one there may be nothing to claim.
        if not replies:
            wait = self._relay.deliveries.seconds_until_due() if free else None
            if wait is None:
                return _POLL
            if wait > 0:
                return min(_POLL, max(0.005, wait))

        claimed = self._exchange(replies, limit=free, senders=SENDERS - waiting, quick=quick)
        self._claimed_at = self._monotonic()
        with self._lock:
            self._in_flight.update((item.delivery.id, item) for item in claimed)
        for number, item in enumerate(claimed):
            if self._begins(item):
                try:
                    self._pool.submit(self._send_in_turn, item)
                except (RuntimeError, MemoryError):  # no thread: release what cannot be sent, and retry later
                    with self._lock:
                        self._sending[item.delivery.destination] -= 1
                    self._release(claimed[number:])
                    raise

        # The remaining ones wait for a sender or for their destination; the end of a POST wakes this thread.
        return 0.0 if claimed or replies else _POLL

    def _quick_destinations(self, replies: Sequence[tuple[ClaimedDelivery, Reply]]) -> dict[str, int]:
        """Those whose replies all came at once, with the number of further leases on deliveries to them."""
        slow = {sent.delivery.destination for sent, reply in replies if not is_quick(reply, body=len(sent.body))}
        quick = {sent.delivery.destination for sent, _ in replies} - slow
        leased = Counter(item.delivery.destination for item in self._in_flight.values()) if quick else Counter()
        leased.subtract(sent.delivery.destination for sent, _ in replies)

        return {name: leased[name] for name in quick}

    def _begins(self, item: ClaimedDelivery) -> bool:
        """Whether it may be sent now; otherwise it waits for one of the POSTs to its destination to end."""
        name = item.delivery.destination
        with self._lock:
            if self._sending[name] < item.at_once:
                self._sending[name] += 1
                return True
            self._waiting.setdefault(name, deque()).append(item)

        return False

    def _next(self, name: str, *, healthy: bool) -> ClaimedDelivery | None:
        """The next delivery that waits for a POST to its destination to end; after a failure they are released."""
        with self._lock:
            waiting = self._waiting.get(name) or deque()
            goes_on = bool(waiting) and healthy and not self._draining
            if goes_on and self._sending[name] <= waiting[0].at_once:
                return waiting.popleft()
            self._sending[name] -= 1
            if goes_on:  # the other threads send them
                return None
            self._waiting.pop(name, None)
            if not self._sending[name]:
                del self._sending[name]
        self._release(waiting)

        return None

    def _exchange(self, replies: Sequence[tuple[ClaimedDelivery, Reply]], **claim: Any) -> Sequence[ClaimedDelivery]:
        """Record the replies and claim further deliveries. Without the store both wait, and leases are renewed."""
        try:
            recorded, claimed = self._relay.deliveries.exchange(self._worker, replies, **claim)
        except StoreUnavailable:
            raise
        except Exception:
            if not replies:
                raise
            log.exception("replies could not be stored together")
            self._forget(replies)
            self._record_apart(replies)
            return ()
        self._forget(replies)
        for (item, reply), delivery in zip(replies, recorded, strict=True):
            if isinstance(delivery, LeaseLost):
                log.warning("delivery was taken over", extra={"requestId": item.request_id})
            else:
                self._log(item, delivery, reply)
            self._end(item)

        return claimed

    def _forget(self, replies: Sequence[tuple[ClaimedDelivery, Reply]]) -> None:
        with self._lock:
            del self._replies[: len(replies)]

    def _record_apart(self, replies: Sequence[tuple[ClaimedDelivery, Reply]]) -> None:
        for item, reply in replies:
            self._pool.submit(self._finish, item, reply)

    def _release(self, unsent: Iterable[ClaimedDelivery]) -> None:
        with self._lock:
            for item in unsent:
                self._in_flight.pop(item.delivery.id, None)
        for item in unsent:
            self._relay.deliveries.release(item)

    def _renew(self) -> float:
        """Renew the leases of the POSTs in flight only: the lease of a failed sender must expire."""
        with self._lock:
            sending = list(self._in_flight.values())
        self._relay.deliveries.renew(sending)

        return self._renew_every

    def _send_in_turn(self, item: ClaimedDelivery) -> None:
        """Send it, and after it those that wait for the same destination."""
        following: ClaimedDelivery | None = item
        while following is not None:
            healthy = self._send(following)
            try:
                following = self._next(item.delivery.destination, healthy=healthy)
            except Exception:  # the store: the leases of what was not released expire
                log.exception("deliveries could not be released")
                return

    def _send(self, item: ClaimedDelivery) -> bool:
        """Send it; returns whether its destination is alive."""
        try:
            failpoints.hit("deliver.before_post")
            try:
                reply = self._post(item)
            except Exception as exc:
                log.exception("a POST failed with an internal error", extra={"requestId": item.request_id})
                error = f"the relay failed to send it ({type(exc).__name__})"
                reply = Reply(error=error, local_fault=True)
            failpoints.hit("deliver.after_post")
        except Exception:
            # Its lease expires, and it is sent again under the same webhook-id.
            log.exception("a sender failed", extra={"requestId": item.request_id})
            self._end(item)
            return False
        with self._lock:
            draining = self._draining
            if not draining:
                self._replies.append((item, reply))
        if draining:
            self._finish(item, reply)
        else:
            self.loop.wake()

        return health_signal(reply) is HealthSignal.ALIVE

    def _finish(self, item: ClaimedDelivery, reply: Reply) -> None:
        """Record one reply by itself."""
        try:
            self._log(item, self._record(item, reply), reply)
        except LeaseLost:
            log.warning("delivery was taken over", extra={"requestId": item.request_id})
        except Exception:
            # Its lease expires, and it is sent again under the same webhook-id.
            log.exception("a sender failed", extra={"requestId": item.request_id})
        finally:
            self._end(item)

    def _end(self, item: ClaimedDelivery) -> None:
        with self._lock:
            self._in_flight.pop(item.delivery.id, None)
            self._lock.notify_all()
        self.loop.wake()

    def _post(self, item: ClaimedDelivery) -> Reply:
        delivery = item.delivery
        if item.headers is None:
            error = "not sent: its webhookHeaders cannot be read without the key file that was beside the store"
            return Reply(error=error, local_fault=True)
        span = self._tracer.start(
            "claude_relay.delivery",
            parent=item.target.traceparent,
            kind="client",
            attributes={
                "claude_relay.request_id": item.request_id,
                "http.request.method": "POST",
                "server.address": destination_of(delivery.url),
            },
        )
        trace = {"traceparent": span.traceparent} if span.traceparent else {}
        headers = {**trace, **item.headers, **sign(delivery.webhook_id, self._clock(), item.body, self.secrets)}
        reply = self._sender.post(delivery.url, item.body, headers)
        span.set({"http.response.status_code": reply.status})
        failed = reply.status is None or not 200 <= reply.status < 300
        span.end(error=str(reply.status or "connection") if failed else None)
        if reply.location:
            reply = replace(reply, excerpt=f"Location: {reply.location}\n{reply.excerpt}")

        # The reply of a receiver that echoes its request must not put the caller's keys into the record.
        redact = Redactor(tuple(item.headers.values()))
        return replace(reply, excerpt=redact.cut_off(reply.excerpt)) if item.headers else reply

    def _record(self, item: ClaimedDelivery, reply: Reply) -> Delivery:
        """
        Record the attempt, and retry for as long as the store is unavailable.

        A reply that is lost means a callback sent twice. Meanwhile its lease is renewed like any other in flight. A
        reply that cannot be stored is recorded without the receiver's words, after a second attempt.
        """
        bare = Reply(status=reply.status, ms=reply.ms, error=reply.error and "failed", local_fault=reply.local_fault)
        attempts = iter((reply, bare))
        while True:
            try:
                return self._relay.deliveries.record_attempt(item, reply)
            except StoreUnavailable as exc:
                STORE.failed(exc, requestId=item.request_id)
                if self._stopping.wait(_STORE_PAUSE):
                    raise
            except LeaseLost:
                raise
            except Exception:
                log.exception("reply could not be stored", extra={"requestId": item.request_id})
                if (substitute := next(attempts, None)) is None:
                    raise
                reply = substitute

    def _log(self, item: ClaimedDelivery, delivery: Delivery, reply: Reply) -> None:
        fields = {
            "requestId": item.request_id,
            "host": destination_of(delivery.url),
            "statusCode": reply.status,
            "ms": reply.ms,
            "attempt": delivery.attempts,
            "error": reply.error,
        }
        if self._meters is not None:
            delivered = delivery.state is DeliveryState.DELIVERED
            outcome = delivery.state.value if delivery.state.final else "retry"
            self._meters.posted(outcome, self._clock() - item.delivery.opened_at if delivered else None)
        level = logging.ERROR if delivery.state is DeliveryState.DEAD else logging.INFO
        log.log(level, f"delivery {delivery.state.value}", extra=fields)
