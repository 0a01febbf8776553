"""Rate limits per client, counted in this process and lost at a restart."""

from __future__ import annotations

import functools
import ipaddress
import threading
import time
from collections import OrderedDict

import falcon
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from ..core.clock_step import MIN_STEP
from ..core.text.rates import Rate
from ..errors import RateLimited


class RateLimiter:
    """
    One rate for each client, over a moving window.

    Sends the remaining count in two sets of headers: draft-ietf-httpapi-ratelimit-headers-11, and the older
    `X-RateLimit-*`.
    """

    def __init__(self, name: str, rate: Rate | None) -> None:
        self._name = name
        self._rate = rate
        self._clock_offset = time.time() - time.monotonic()
        if rate is not None:
            self._window = MovingWindowRateLimiter(MemoryStorage())
            self._item = RateLimitItemPerSecond(rate.count, int(rate.seconds))
            self._policy = f'"{name}";q={rate.count};w={int(rate.seconds)}'

    def spend(self, client: str, resp: falcon.Response) -> None:
        """Count one request; raises `RateLimited` above the limit."""
        if self._rate is not None:
            self._reset_after_clock_step()
            self._answer(client, resp, self._rate, self._window.hit(self._item, self._name, client))

    def check(self, client: str, resp: falcon.Response) -> None:
        """Count nothing; raises `RateLimited` for a client that is at its limit."""
        if self._rate is None:
            return
        self._reset_after_clock_step()
        if not self._window.test(self._item, self._name, client):
            self._answer(client, resp, self._rate, allowed=False)

    def _answer(self, client: str, resp: falcon.Response, rate: Rate, allowed: bool) -> None:
        stats = self._window.get_window_stats(self._item, self._name, client)
        left, wait = max(0, stats.remaining), max(1, int(stats.reset_time - time.time()) + 1)
        resp.set_headers(
            {
                "RateLimit-Policy": self._policy,
                "RateLimit": f'"{self._name}";r={left};t={wait}',
                "X-RateLimit-Limit": str(rate.count),
                "X-RateLimit-Remaining": str(left),
                "X-RateLimit-Reset": str(int(stats.reset_time)),
            }
        )
        if not allowed:
            raise RateLimited(
                f"Too many requests: at most {rate.count} in {int(rate.seconds)} seconds; again in {wait} s.",
                retry_after=wait,
            )

    def _reset_after_clock_step(self) -> None:
        """Empty the window when the wall clock was set: hits with a time in the future would count until then."""
        offset = time.time() - time.monotonic()
        if abs(offset - self._clock_offset) > MIN_STEP:
            self._window = MovingWindowRateLimiter(MemoryStorage())
        self._clock_offset = offset


class KnownKeys:
    """The keys that were right lately, by the address that sent them: digests, the latest `limit` of them."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._seen: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, pair: tuple[str, bytes]) -> bool:
        with self._lock:
            return pair in self._seen

    def add(self, address: str, digest: bytes) -> None:
        """Remember a key that was right."""
        with self._lock:
            self._seen[address, digest] = None
            self._seen.move_to_end((address, digest))
            if len(self._seen) > self._limit:
                self._seen.popitem(last=False)

    def discard(self, address: str, digest: bytes) -> None:
        """Forget a key that is wrong by now, such as a revoked one."""
        with self._lock:
            self._seen.pop((address, digest), None)


def client_address(req: falcon.Request) -> str:
    """The client's IP address; for IPv6 its /64."""
    return network_of(req.remote_addr)


@functools.lru_cache(maxsize=4_096)
def network_of(text: str) -> str:
    """The network of one customer: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if address.version == 6:
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))  # a link-local one has a zone, too

    return text
