"""Pacing against simulated upstreams: the part of a limit that is used, and the calls that are refused."""

from __future__ import annotations

import heapq
import random

import pytest

from claude_relay.worker.pacing import FIRST_WINDOW, Pacing


class Bucket:
    """An upstream with a limit per minute that refills evenly."""

    def __init__(self, limit: int, headers: bool = True) -> None:
        self.limit, self.left, self.at, self.headers = limit, float(limit), 0.0, headers

    def ask(self, now: float) -> bool:
        self.left = min(self.limit, self.left + (now - self.at) * self.limit / 60)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def limits(self, now: float) -> dict[str, float | None]:
        if not self.headers:
            return {"limit": None, "remaining": None, "reset": None}
        full_at = now + (self.limit - self.left) * 60 / self.limit
        return {"limit": self.limit, "remaining": int(self.left), "reset": full_at}


class Window(Bucket):
    """An upstream that counts from zero every minute."""

    def ask(self, now: float) -> bool:
        if now // 60 != self.at // 60:
            self.left = float(self.limit)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def limits(self, now: float) -> dict[str, float | None]:
        return {"limit": self.limit, "remaining": int(self.left), "reset": (now // 60 + 1) * 60}


def simulate(upstream: Bucket, *, minutes: float, seconds: float, slots: int = 64) -> tuple[int, int]:
    """(served, refused) with an endless queue: claims every second and after each call."""
    clock, rng = [0.0], random.Random(7)
    pacing = Pacing(clock=lambda: clock[0], wall=lambda: clock[0])
    events: list[tuple[float, int, bool]] = []
    served = refused = number = 0

    while clock[0] < minutes * 60:
        capacity = min(pacing.capacities().get("opus", FIRST_WINDOW), slots - len(events))
        for _ in range(capacity):
            pacing.record_start("opus")
            accepted = upstream.ask(clock[0])
            number += 1
            heapq.heappush(
                events, (clock[0] + (seconds * rng.uniform(0.5, 1.5) if accepted else 0.05), number, accepted)
            )
            if accepted:
                pacing.record_limits("opus", **upstream.limits(clock[0]))  # type: ignore[arg-type]
        step = min(1.0, max(0.01, pacing.next_in()))
        if events and events[0][0] <= clock[0] + step:
            clock[0], _, accepted = heapq.heappop(events)
            served, refused = served + accepted, refused + (not accepted)
            pacing.record_end("opus", throttled=not accepted, well=accepted)
            if not accepted:
                pacing.record_limits("opus", limit=None, remaining=None, reset=None, exhausted_for=60 / upstream.limit)
        else:
            clock[0] += step

    return served, refused


@pytest.mark.parametrize("kind", [Bucket, Window])
@pytest.mark.parametrize("limit, seconds", [(50, 5.0), (60, 0.5), (300, 8.0), (1000, 2.0)])
def test_nine_tenths_are_used_and_a_hundredth_refused(kind, limit, seconds):
    """Of an upstream that allows N a minute and says so."""
    minutes = 10
    served, refused = simulate(kind(limit), minutes=minutes, seconds=seconds)
    possible = min(limit * minutes, 64 / seconds * 60 * minutes)

    assert served >= 0.9 * possible
    assert refused <= 0.01 * (served + refused)


def test_an_upstream_without_headers_is_probed_gently():
    """The limit is unknown: refusals stay few, and most of it is still used."""
    served, refused = simulate(Bucket(120, headers=False), minutes=10, seconds=2.0)

    assert served >= 0.6 * 1200
    assert refused <= 0.1 * (served + refused)


def test_a_family_starts_with_a_small_window_of_its_own():
    pacing = Pacing(clock=lambda: 0.0, wall=lambda: 0.0)
    for _ in range(FIRST_WINDOW):
        pacing.record_start("opus")

    assert pacing.capacities() == {"opus": 0}


def test_a_throttle_is_followed_by_one_probe():
    """Halved, and one call alone until it went well."""
    now = [0.0]
    pacing = Pacing(clock=lambda: now[0], wall=lambda: now[0])
    for _ in range(20):
        pacing.record_start("opus")
        pacing.record_end("opus", throttled=False, well=True)
    for _ in range(8):
        pacing.record_start("opus")
    pacing.record_end("opus", throttled=True, well=False)
    for _ in range(7):
        pacing.record_end("opus", throttled=False, well=False)

    assert pacing.capacities() == {"opus": 1}
    pacing.record_start("opus")
    assert pacing.capacities() == {"opus": 0}
    pacing.record_end("opus", throttled=False, well=True)
    assert pacing.capacities()["opus"] == 2


def test_an_exhausted_family_waits_until_its_tokens_are_back():
    now = [100.0]
    pacing = Pacing(clock=lambda: now[0], wall=lambda: now[0])
    pacing.record_limits("opus", limit=None, remaining=None, reset=None, exhausted_for=30.0)

    assert pacing.capacities() == {"opus": 0}
    assert pacing.next_in() == 30.0
    now[0] = 130.0
    assert pacing.capacities() == {"opus": FIRST_WINDOW}
