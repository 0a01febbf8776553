"""When the dispatcher claims: as soon as a job may be due, and no sooner."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.dispatcher import SWEEP, Dispatcher
from claude_relay.worker.inflight import InFlightCalls
from claude_relay.worker.pacing import Pacing
from tests.support.builders import QuietNotifier, a_submission


class Wakeup:
    """Records the timeouts of its waits."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        return False


class NothingReady:
    def take(self, limit: int) -> list[str]:
        return []


class Pool:
    """Starts no call."""

    def submit(self, *_: object) -> None: ...


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy(), rng=random.Random(1))
    yield relay
    relay.close()


def a_dispatcher(relay: Relay, limit: int) -> tuple[Dispatcher, Wakeup]:
    wakeup = Wakeup()
    dispatcher = Dispatcher(
        relay, NothingReady(), wakeup, print, worker="w", limit=limit, in_flight=InFlightCalls(), pacing=Pacing()  # type: ignore[arg-type]
    )  # fmt: skip
    dispatcher._pool = Pool()  # type: ignore[assignment]
    return dispatcher, wakeup


def test_a_dispatcher_without_a_free_slot_waits_until_a_call_ends(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: the end of a call wakes it."""
    dispatcher, wakeup = a_dispatcher(relay, limit=1)
    relay.submit(a_submission())
    dispatcher._round()
    later = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later)
    dispatcher._round()

    assert wakeup.waits == [SWEEP, SWEEP]


def test_an_idle_dispatcher_sweeps_once_a_second(relay: Relay) -> None:
    dispatcher, wakeup = a_dispatcher(relay, limit=2)
    dispatcher._round()

    assert len(wakeup.waits) == 1 and 0 < wakeup.waits[0] <= SWEEP


def test_a_dispatcher_sweeps_when_the_rate_of_a_group_allows_the_next_job(relay: Relay) -> None:
    relay.set_group("g", concurrency=None, rate=300)
    relay.submit(a_submission(group="g"))
    relay.submit(a_submission(group="g"))
    dispatcher, wakeup = a_dispatcher(relay, limit=4)
    dispatcher._round()

    assert len(wakeup.waits) == 1 and 0 < wakeup.waits[0] <= 0.2
