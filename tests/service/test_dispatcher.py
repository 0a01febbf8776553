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
from claude_relay.worker.inflight import InFlightCall, InFlightCalls
from claude_relay.worker.pacing import FIRST_WINDOW, Pacing
from tests.support.builders import QuietNotifier, a_submission


class Wakeup:
    """Records the timeouts of its waits."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.woken = 0

    def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        return False

    def wake_self(self) -> None:
        self.woken += 1


class NothingReady:
    def take(self, limit: int) -> list[str]:
        return []


class Pool:
    """Starts no call, and keeps them."""

    def __init__(self) -> None:
        self.calls: list[InFlightCall] = []

    def submit(self, _: object, call: InFlightCall) -> None:
        self.calls.append(call)


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
    relay.set_group("g", concurrency=None, rate=600)
    relay.submit(a_submission(group="g"))
    relay.submit(a_submission(group="g"))
    dispatcher, wakeup = a_dispatcher(relay, limit=4)
    dispatcher._round()

    assert len(wakeup.waits) == 1 and 0 < wakeup.waits[0] < SWEEP / 2  # 0.1, and the time of the claim


def calls_of(dispatcher: Dispatcher) -> list[InFlightCall]:
    return dispatcher._pool.calls  # type: ignore[attr-defined, no-any-return]


def test_a_call_that_is_accepted_wakes_a_dispatcher_that_holds_jobs_back(relay: Relay) -> None:
    relay.submit_many([a_submission() for _ in range(FIRST_WINDOW + 2)])
    dispatcher, wakeup = a_dispatcher(relay, limit=64)
    dispatcher._round()
    assert (len(calls_of(dispatcher)), wakeup.woken) == (FIRST_WINDOW, 0)

    calls_of(dispatcher)[0].paced.accepted()
    dispatcher._sweep_not_before = 0.0
    dispatcher._round()

    assert (len(calls_of(dispatcher)), wakeup.woken) == (FIRST_WINDOW + 2, 1)
    calls_of(dispatcher)[1].paced.accepted()
    assert wakeup.woken == 1  # no job waits for room any more


def test_room_that_is_made_during_a_claim_is_not_missed(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dispatcher does not know yet that jobs are held back, and is not woken: it does not wait for its sweep."""
    relay.submit_many([a_submission() for _ in range(FIRST_WINDOW + 2)])
    dispatcher, wakeup = a_dispatcher(relay, limit=64)
    pacing = dispatcher._pacing
    earlier = [pacing.start("sonnet") for _ in range(FIRST_WINDOW)]
    ask = relay.execution.seconds_until_capacity

    def accepted_meanwhile() -> float | None:
        earlier[0].accepted()
        return ask()

    monkeypatch.setattr(relay.execution, "seconds_until_capacity", accepted_meanwhile)
    dispatcher._round()

    assert wakeup.woken == 0 and wakeup.waits[0] < 0.5 * SWEEP


def test_a_dispatcher_sweeps_when_the_pause_of_a_family_ends(relay: Relay) -> None:
    relay.submit(a_submission())
    dispatcher, wakeup = a_dispatcher(relay, limit=4)
    dispatcher._pacing.record_limits("sonnet", limit=None, remaining=None, reset=None, exhausted_for=0.9)
    dispatcher._round()

    assert calls_of(dispatcher) == [] and 0 < wakeup.waits[0] <= 0.95 < SWEEP
