"""Rate limits per client, counted in this process and lost at a restart."""

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
        if self._rate is None:
            return
        self._reset_after_clock_step()
        allowed = self._window.hit(self._item, self._name, client)
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
        if not allowed:
            raise RateLimited(
                f"Too many requests: at most {self._rate.count} in {int(self._rate.seconds)} seconds; "
                f"again in {wait} s.",
                retry_after=wait,
            )

    def _reset_after_clock_step(self) -> None:
        """Empty the window when the wall clock was set: hits with a time in the future would count until then."""
        offset = time.time() - time.monotonic()
        if abs(offset - self._clock_offset) > MIN_STEP:
            self._window = MovingWindowRateLimiter(MemoryStorage())
        self._clock_offset = offset


def client_address(req: falcon.Request) -> str:
    """The client's IP address; for IPv6 its /64."""
    return network_of(req.remote_addr)


def network_of(text: str) -> str:
    """The network of one customer: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if address.version == 6:
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))  # a link-local one has a zone, too

    return text
