"""The call of a job under local faults: neither the job nor the capacity for the next ones is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.jobs.failure import Completion, ErrorType, Failure, Remedy
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.executor import CallExecutor
from claude_relay.worker.files import Files
from claude_relay.worker.inflight import InFlightCall
from claude_relay.worker.pacing import FIRST_WINDOW, Pacing
from tests.support.builders import QuietNotifier, a_completion, a_submission

R = JobRef(request_id="r")


class Answers:
    def call(self, prompt: Any, *, sending: Any, **_: Any) -> Completion:
        sending()
        return a_completion()


class Breaks:
    def call(self, prompt: Any, **_: Any) -> Completion:
        raise RuntimeError("a fault of the relay's own")


class Throttles:
    """Refuses the call, or accepts it and breaks it off; without Retry-After."""

    def __init__(self, *, accepts: bool) -> None:
        self._accepts = accepts

    def call(self, prompt: Any, *, sending: Any, accepted: Any, **_: Any) -> Failure:
        sending()
        if self._accepts:
            accepted()
        return Failure(type=ErrorType.OVERLOADED, message="overloaded", remedy=Remedy.THROTTLE)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy(), rng=random.Random(1))
    relay.submit(a_submission("r", webhook_url=None))
    yield relay
    relay.close()


def running(relay: Relay, pacing: Pacing) -> InFlightCall:
    """Claim a job as the dispatcher does."""
    [claimed] = relay.execution.claim("w", limit=1)
    return InFlightCall(claimed, pacing.start("sonnet"))


def an_executor(relay: Relay, claude: Any) -> CallExecutor:
    return CallExecutor(relay, claude, Files(relay, None), ending=threading.Event())  # type: ignore[arg-type]


def test_a_store_that_is_unavailable_before_the_call_is_read_again(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of file handles, say: an unsent call waits, instead of being left to its lease."""
    answers: list[Any] = [StoreUnavailable("no handle to be had"), None]

    def repair(claimed: Any) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    monkeypatch.setattr(relay.execution, "repair", repair)
    an_executor(relay, Answers()).run(running(relay, Pacing()))

    assert relay.queries.status(R)["status"] == "completed"
    assert [call["outcome"] for call in relay.queries.job_details(R)["calls"]] == ["completed"]


def test_a_call_that_fails_with_an_exception_frees_its_capacity(relay: Relay) -> None:
    """Else a family would be blocked for good after a few."""
    pacing = Pacing()
    an_executor(relay, Breaks()).run(running(relay, pacing))

    assert relay.queries.status(R)["status"] == "pending"
    assert pacing.capacities() == {"sonnet": FIRST_WINDOW}


def test_a_call_that_is_accepted_makes_room_for_others_before_it_ends(relay: Relay) -> None:
    pacing = Pacing()
    call = running(relay, pacing)
    room: list[int] = []

    class Long:
        def call(self, prompt: Any, *, sending: Any, accepted: Any, **_: Any) -> Completion:
            sending()
            room.append(pacing.capacities()["sonnet"])
            accepted()
            room.append(pacing.capacities()["sonnet"])
            return a_completion()

    an_executor(relay, Long()).run(call)

    assert room == [FIRST_WINDOW - 1, FIRST_WINDOW + 1]


def test_a_call_takes_no_capacity_while_its_files_are_prepared(relay: Relay) -> None:
    """CASES S12: large PDFs held up a plain job of the same family."""
    pacing, room = Pacing(), list[int]()

    class Inspects:
        def call(self, prompt: Any, *, sending: Any, preparing: Any, **_: Any) -> Completion:
            with preparing():
                room.append(pacing.capacities()["sonnet"])
            room.append(pacing.capacities()["sonnet"])
            sending()
            return a_completion()

    an_executor(relay, Inspects()).run(running(relay, pacing))

    assert room == [FIRST_WINDOW, FIRST_WINDOW - 1]


@pytest.mark.parametrize("accepts", [False, True])
def test_a_throttled_call_pauses_its_family_here_and_on_other_workers(relay: Relay, accepts: bool) -> None:
    """Without Retry-After, for as long as this worker has learned; the job itself waits longer."""
    pacing = Pacing()
    an_executor(relay, Throttles(accepts=accepts)).run(running(relay, pacing))
    [hold] = relay.queries.overview()["holds"]

    assert pacing.capacities() == {"sonnet": 0}
    assert 0.0 < pacing.next_in() <= 1.0
    assert (hold["scope"], hold["reason"]) == ("family:sonnet", "overloaded")
