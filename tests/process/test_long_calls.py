"""Long calls on a worker that starts with a backlog, against upstreams that allow everything or little."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Pause, Seen, Step, Wait, head, refusal, started, stopped, written
from tests.support.rig import Rig

pytestmark = pytest.mark.process

#: On a busy machine a dozen unanswered calls may meet the limit together, and some more until the rate is known. The
#: share of refusals in a long backlog is measured in simulated time (`tests/unit/test_pacing.py`).
MOST_REFUSED = 30


def submit_all(rig: Rig, jobs: int) -> None:
    bodies = [{"prompt": f"number {number}"} for number in range(jobs)]
    assert rig.post("/api/claude/bulk", bodies).status_code == 207


def test_all_calls_are_in_flight_before_the_first_ends(tmp_path: Path) -> None:
    """64 calls for 64 slots: each is accepted at once, so that none waits for the end of another."""
    go_on = threading.Event()
    steps = (head(), started(), *written("half "), Wait(go_on), *stopped())
    with FakeClaude(otherwise=lambda seen: steps) as upstream, Rig(tmp_path, upstream=upstream.url) as rig:
        rig.start_api()
        submit_all(rig, 64)
        rig.start_worker()
        eventually(lambda: len(upstream.books) == 64)
        go_on.set()
        eventually(lambda: rig.get("/api/overview")["jobs"]["completed"] == 64)

        assert len(upstream.books) == 64


class AtOnce:
    """An upstream that makes at most `limit` calls at the same time, of `seconds` each."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = limit, seconds
        self.running = self.refused = self.done = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, seen: Seen) -> Iterator[Step]:
        with self._lock:
            if self.running >= self.limit:
                self.refused += 1
                return iter(refusal("429 Too Many Requests", "rate_limit_error"))
            self.running += 1
            self.most = max(self.most, self.running)
        return self._steps()

    def _steps(self) -> Iterator[Step]:
        yield b"".join((head(), started(), *written("ok")))
        yield Pause(self.seconds)
        with self._lock:  # before the end is sent, and so before the next call can come
            self.running -= 1
            self.done += 1
        yield b"".join(stopped())


def test_a_limit_of_concurrent_calls_is_learned_and_used(tmp_path: Path) -> None:
    """Ten at once, announced by nothing but 429 without Retry-After."""
    limit = AtOnce(10, seconds=0.5)
    with FakeClaude(otherwise=limit) as upstream, Rig(tmp_path, upstream=upstream.url) as rig:
        rig.start_api()
        submit_all(rig, 200)
        rig.start_worker()
        eventually(lambda: limit.done >= 1, within=60)
        began = time.monotonic()
        eventually(lambda: limit.done >= 200, within=100)

        assert limit.most == 10
        assert time.monotonic() - began < 0.6 * 200 * 0.5  # one after the other 100 s, ten at once 10 s
        assert limit.refused <= MOST_REFUSED


class Silent:
    """A token bucket of `per_second` requests; its only headers are those of its refusals."""

    def __init__(self, burst: int, per_second: float, *, retry_after: bool) -> None:
        self.burst, self.per_second, self.retry_after = burst, per_second, retry_after
        self.left, self.at = float(burst), time.monotonic()
        self.served = self.refused = 0
        self._lock = threading.Lock()

    def __call__(self, seen: Seen) -> tuple[bytes, ...]:
        with self._lock:
            now = time.monotonic()
            self.left, self.at = min(self.burst, self.left + (now - self.at) * self.per_second), now
            if self.left < 1:
                self.refused += 1
                extra = [("retry-after", "1")] if self.retry_after else []
                return refusal("429 Too Many Requests", "rate_limit_error", None, *extra)
            self.left -= 1
            self.served += 1
        return (head(), started(), *written("ok"), *stopped())


@pytest.mark.parametrize("retry_after", [True, False])
def test_a_limit_of_requests_a_minute_is_learned_and_used(tmp_path: Path, retry_after: bool) -> None:
    """Twenty at once and 480 a minute, announced by nothing but 429."""
    limit = Silent(20, 8.0, retry_after=retry_after)
    with FakeClaude(otherwise=limit) as upstream, Rig(tmp_path, upstream=upstream.url) as rig:
        rig.start_api()
        submit_all(rig, 140)
        rig.start_worker()
        eventually(lambda: limit.served >= 1, within=60)
        began = time.monotonic()
        eventually(lambda: limit.served >= 140, within=100)

        assert time.monotonic() - began < 4 * (140 - 20) / 8.0
        assert limit.refused <= MOST_REFUSED
