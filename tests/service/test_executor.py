"""The call of a job under local faults: neither the job nor the capacity for the next ones is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.jobs.failure import Completion
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


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy(), rng=random.Random(1))
    relay.submit(a_submission("r", webhook_url=None))
    yield relay
    relay.close()


def running(relay: Relay, pacing: Pacing) -> InFlightCall:
    """Claim a job as the dispatcher does."""
    [claimed] = relay.execution.claim("w", limit=1)
    pacing.record_start("sonnet")
    return InFlightCall(claimed)


def an_executor(relay: Relay, claude: Any, pacing: Pacing) -> CallExecutor:
    return CallExecutor(relay, claude, Files(relay, None), pacing=pacing, ending=threading.Event())  # type: ignore[arg-type]


def test_a_store_that_is_unavailable_before_the_call_is_read_again(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of file handles, say: an unsent call waits, instead of being left to its lease."""
    answers: list[Any] = [StoreUnavailable("no handle to be had"), None]

    def repair(claimed: Any) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    monkeypatch.setattr(relay.execution, "repair", repair)
    pacing = Pacing()
    an_executor(relay, Answers(), pacing).run(running(relay, pacing))

    assert relay.queries.status(R)["status"] == "completed"
    assert [call["outcome"] for call in relay.queries.job_details(R)["calls"]] == ["completed"]


def test_a_call_that_fails_with_an_exception_frees_its_capacity(relay: Relay) -> None:
    """Else a family would be blocked for good after a few."""
    pacing = Pacing()
    an_executor(relay, Breaks(), pacing).run(running(relay, pacing))

    assert relay.queries.status(R)["status"] == "pending"
    assert pacing.capacities() == {"sonnet": FIRST_WINDOW}
