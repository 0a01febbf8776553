"""When a worker's slots look for jobs: as soon as there may be one for them, and no sooner."""

from __future__ import annotations

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


class Door:
    """For how long it was waited at."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        return False


class NothingReady:
    def take(self, limit: int) -> list[str]:
        return []


class Pool:
    """Begins calls and ends none."""

    def submit(self, *_: object) -> None: ...


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy())
    yield relay
    relay.close()


def slots(relay: Relay, limit: int) -> tuple[Dispatcher, Door]:
    door = Door()
    made = Dispatcher(
        relay, NothingReady(), door, print, worker="w", limit=limit, in_flight=InFlightCalls(), pacing=Pacing()  # type: ignore[arg-type]
    )  # fmt: skip
    made._pool = Pool()  # type: ignore[assignment]
    return made, door


def test_a_worker_without_a_free_slot_rests_until_a_call_ends(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes: the end of a call knocks."""
    made, door = slots(relay, limit=1)
    relay.submit(a_submission())
    made._round()
    later = time.monotonic() + 3600
    monkeypatch.setattr(time, "monotonic", lambda: later)
    made._round()

    assert door.waits == [SWEEP, SWEEP]


def test_a_worker_with_nothing_to_do_looks_once_a_second(relay: Relay) -> None:
    made, door = slots(relay, limit=2)
    made._round()

    assert door.waits == [pytest.approx(SWEEP, abs=0.5)]


def test_a_worker_whose_group_has_a_rate_comes_back_when_the_next_may_begin(relay: Relay) -> None:
    relay.set_group("g", concurrency=None, rate=300)
    relay.submit(a_submission(group="g"))
    relay.submit(a_submission(group="g"))
    made, door = slots(relay, limit=4)
    made._round()

    assert door.waits == [pytest.approx(0.2, abs=0.1)]
