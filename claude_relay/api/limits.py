"""Rate limits per client, counted in this process and lost at a restart."""

from __future__ import annotations

import functools
import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

import falcon

from ..core.text.rates import Rate
from ..errors import RateLimited


class MovingWindow:
    """
    The hits of each client within the last `seconds`; a refused one does not count.

    By the monotonic clock: a wall clock that is set changes no limit.
    """

    def __init__(self, count: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._seconds, self._clock = count, seconds, clock
        self._hits: dict[str, deque[float]] = {}
        self._lock = threading.Lock()
        self._sweep_at = clock() + seconds

    def __len__(self) -> int:
        return len(self._hits)

    def hit(self, client: str, *, counts: bool = True) -> tuple[bool, int, float]:
        """Count a hit; returns whether it is allowed, how many are left, and the seconds until the oldest one ends."""
        with self._lock:
            now = self._clock()
            if now >= self._sweep_at:
                self._sweep(now)
            hits = self._hits.get(client)
            if hits is None:
                hits = self._hits[client] = deque()
            while hits and hits[0] <= now - self._seconds:
                hits.popleft()
            allowed = len(hits) < self._count
            if allowed and counts:
                hits.append(now)
            oldest = hits[0] if hits else now

            return allowed, self._count - len(hits), oldest + self._seconds - now

    def _sweep(self, now: float) -> None:
        """Forget the clients without a hit in the window, once in each: memory follows those that send."""
        self._sweep_at = now + self._seconds
        ended = [client for client, hits in self._hits.items() if not hits or hits[-1] <= now - self._seconds]
        for client in ended:
            del self._hits[client]


class RateLimiter:
    """
    One rate for each client, over a moving window.

    Sends the remaining count in two sets of headers: draft-ietf-httpapi-ratelimit-headers-11, and the older
    `X-RateLimit-*`.
    """

    def __init__(self, name: str, rate: Rate | None) -> None:
        self._name = name
        self._rate = rate
        if rate is not None:
            self._window = MovingWindow(rate.count, int(rate.seconds))
            self._policy = f'"{name}";q={rate.count};w={int(rate.seconds)}'

    def spend(self, client: str, headers: dict[str, str]) -> None:
        """Count one request and write its headers; raises `RateLimited` above the limit."""
        if self._rate is not None:
            self._answer(headers, self._rate, *self._window.hit(client))

    def check(self, client: str, headers: dict[str, str]) -> None:
        """Count nothing; raises `RateLimited` for a client that is at its limit."""
        if self._rate is None:
            return
        allowed, left, seconds = self._window.hit(client, counts=False)
        if not allowed:
            self._answer(headers, self._rate, allowed, left, seconds)

    def _answer(self, headers: dict[str, str], rate: Rate, allowed: bool, left: int, seconds: float) -> None:
        wait = max(1, int(seconds) + 1)
        headers["ratelimit-policy"] = self._policy
        headers["ratelimit"] = f'"{self._name}";r={left};t={wait}'
        headers["x-ratelimit-limit"] = str(rate.count)
        headers["x-ratelimit-remaining"] = str(left)
        headers["x-ratelimit-reset"] = str(int(time.time() + seconds))
        if not allowed:
            raise RateLimited(
                f"Too many requests: at most {rate.count} in {int(rate.seconds)} seconds; again in {wait} s.",
                retry_after=wait,
            )


class KnownKeys:
    """The keys that were right lately, by the address that sent them: digests, the latest `limit` of them."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._seen: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._lock = threading.Lock()

    def refresh(self, address: str, digest: bytes) -> bool:
        """Whether the key was right lately; it then counts among the latest ones."""
        with self._lock:
            if (address, digest) not in self._seen:
                return False
            self._seen.move_to_end((address, digest))
            return True

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
    if address.version == 6 and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)  # a client over IPv4 of a socket for both
    if address.version == 6:
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))  # a link-local one has a zone, too

    return text
