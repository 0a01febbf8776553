"""The writer of checkpoints on a real store, with calls of a scripted upstream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.jobs.failure import PartialResponse, RequestOutcome
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.checkpoints import GATHER, CheckpointWriter
from claude_relay.worker.inflight import InFlightCall
from claude_relay.worker.pacing import Pacing
from tests.support.builders import QuietNotifier, a_submission


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy())
    yield relay
    relay.close()


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def writer(relay: Relay, now: list[float]) -> CheckpointWriter:
    return CheckpointWriter(relay, monotonic=lambda: now[0])


def running(relay: Relay, count: int) -> Sequence[InFlightCall]:
    for number in range(count):
        relay.submit(a_submission(f"r-{number}"))
    pacing = Pacing()
    claimed = sorted(relay.execution.claim("w", limit=count), key=lambda item: item.job.request_id)

    return [InFlightCall(item, pacing.start("sonnet")) for item in claimed]


def text(relay: Relay, call: InFlightCall) -> str:
    partial = relay._store.read(lambda tx: tx.partial(call.job_id))
    return partial.text if partial is not None else ""


def test_checkpoints_of_several_calls_share_a_commit(
    relay: Relay, writer: CheckpointWriter, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a moment, and of each call the latest alone."""
    commits: list[Any] = []
    many = relay.execution.checkpoint_many
    monkeypatch.setattr(relay.execution, "checkpoint_many", lambda items: commits.append(items) or many(items))
    calls = running(relay, 3)
    for call in (*calls, calls[0]):
        writer.put(call, PartialResponse(text=f"Sva of {len(commits)}" if call is not calls[0] else "Svar"))

    assert 0 < writer._round() <= GATHER
    assert not commits

    now[0] += GATHER
    writer._round()
    assert [len(items) for items in commits] == [3]
    assert [text(relay, call) for call in calls] == ["Svar", "Sva of 0", "Sva of 0"]


def test_a_call_that_ends_at_once_writes_no_checkpoint(
    relay: Relay, writer: CheckpointWriter, now: list[float]
) -> None:
    [call] = running(relay, 1)
    writer.put(call, PartialResponse(text="Sva"))
    writer.drop(call)
    now[0] += GATHER
    writer._round()

    assert text(relay, call) == ""


def test_a_checkpoint_of_an_earlier_request_is_left_out(
    relay: Relay, writer: CheckpointWriter, now: list[float]
) -> None:
    """Its usage is in its own ledger entry, and would be paid for a second time in the next one."""
    [call] = running(relay, 1)
    writer.put(call, PartialResponse(text="Sva", usage={"input_tokens": 10}))
    relay.execution.sending(call.claimed)
    relay.execution.start_followup(call.claimed, RequestOutcome(outcome="paused", usage={"input_tokens": 10}))
    now[0] += GATHER
    writer._round()

    [_, second] = relay._store.read(lambda tx: tx.calls(call.job_id))
    assert second.usage is None
    call.followups += 1
    writer.put(call, PartialResponse(text="Svar", usage={"input_tokens": 20}))
    now[0] += GATHER
    writer._round()
    [_, second] = relay._store.read(lambda tx: tx.calls(call.job_id))
    assert second.usage == {"input_tokens": 20}


def test_without_the_store_a_checkpoint_is_left_out_and_the_next_one_is_written(
    relay: Relay, writer: CheckpointWriter, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(items: Any) -> None:
        raise StoreUnavailable("the disk is full")

    [call] = running(relay, 1)
    with monkeypatch.context() as patch:
        patch.setattr(relay.execution, "checkpoint_many", away)
        writer.put(call, PartialResponse(text="Sva"))
        now[0] += GATHER
        writer._round()
    writer.put(call, PartialResponse(text="Svar"))
    now[0] += GATHER
    writer._round()

    assert text(relay, call) == "Svar"


def test_a_long_text_is_kept_in_memory_until_it_is_stored(
    relay: Relay, writer: CheckpointWriter, now: list[float]
) -> None:
    [call] = running(relay, 1)
    call.partial = PartialResponse(text="x" * 2**21)
    writer.put(call, call.partial)
    assert call.partial.text
    now[0] += GATHER
    writer._round()

    assert call.partial.text == ""
    assert len(text(relay, call)) == 2**21
