"""Rate limits: how often one client may ask. Counted in this process, forgotten at a restart."""

from __future__ import annotations

import ipaddress
import time

import falcon
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from ..core.clock_step import MIN_STEP
from ..core.text.rates import Rate
from ..errors import RateLimited


class RateLimiter:
    """
    One rate for every client apart, over a moving window.

    Tells in headers what is left: the draft's pair (draft-ietf-httpapi-ratelimit-headers-11) and the older trio.
    """

    def __init__(self, name: str, rate: Rate | None) -> None:
        self._name = name
        self._rate = rate
        self._clocks = time.time() - time.monotonic()
        if rate is not None:
            self._window = MovingWindowRateLimiter(MemoryStorage())
            self._item = RateLimitItemPerSecond(rate.count, int(rate.seconds))
            self._policy = f'"{name}";q={rate.count};w={int(rate.seconds)}'

    def spend(self, client: str, resp: falcon.Response) -> None:
        """Count one request; raises `RateLimited` when that is one too many."""
        if self._rate is None:
            return
        self._forget_a_wrong_time()
        taken = self._window.hit(self._item, self._name, client)
        stats = self._window.get_window_stats(self._item, self._name, client)
        left, wait = max(0, stats.remaining), max(1, int(stats.reset_time - time.time()) + 1)
        resp.set_headers(
            {
                "RateLimit-Policy": self._policy,
                "RateLimit": f'"{self._name}";r={left};t={wait}',
                "X-RateLimit-Limit": str(self._rate.count),
                "X-RateLimit-Remaining": str(left),
                "X-RateLimit-Reset": str(int(stats.reset_time)),
            }
        )
        if not taken:
            raise RateLimited(
                f"Too many requests: at most {self._rate.count} in {int(self._rate.seconds)} seconds; "
                f"again in {wait} s.",
                retry_after=wait,
            )

    def _forget_a_wrong_time(self) -> None:
        """Begin anew when the clock was set: what was counted in a future that was none would count until then."""
        clocks = time.time() - time.monotonic()
        if abs(clocks - self._clocks) > MIN_STEP:
            self._window = MovingWindowRateLimiter(MemoryStorage())
        self._clocks = clocks


def client_address(req: falcon.Request) -> str:
    """The client's address; one IPv6 customer has a /64."""
    text = req.remote_addr
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if address.version == 6:
        return str(ipaddress.ip_network(f"{text}/64", strict=False))

    return text
