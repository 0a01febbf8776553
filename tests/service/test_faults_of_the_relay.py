"""Exceptions at each call from the worker into the other layers: one job's own outcome, and one call upstream."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.job import State
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker import batch_runner
from claude_relay.worker.delivery_sender import DeliverySender
from claude_relay.worker.executor import CallExecutor
from claude_relay.worker.files import Files
from claude_relay.worker.inflight import InFlightCall
from claude_relay.worker.pacing import Pacing
from tests.service.test_batches import NoFetcher, World, creations
from tests.support.builders import a_submission
from tests.support.eventually import eventually
from tests.support.fake_claude import END, answer, chunk, event, head, refusal, started, stopped

EXCEPTIONS = [ValueError, RecursionError, MemoryError, UnicodeError, OverflowError]


class Failpoint:
    """Raises at the first `times` calls of a method that concern the job, before or after the call is made."""

    def __init__(
        self, owner: Any, name: str, error: type[Exception], *, times: int = 1, after: bool = False, job: str = ""
    ) -> None:
        self.left, self._real = times, getattr(owner, name)
        self._error, self._after, self._job = error, after, job
        self.only = ""  # what else must be among the arguments, of whatever job
        setattr(owner, name, self)

    def __call__(self, *args: Any, **fields: Any) -> Any:
        text = repr(args)
        named = self.only in text if self.only else "request_id='good'" not in text
        concerned = self.left > 0 and self._job in text and named
        self.left -= concerned
        if concerned and not self._after:
            raise self._error("a failpoint")
        result = self._real(*args, **fields)
        if concerned:
            raise self._error("a failpoint")

        return result


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(batch_runner, "PAUSE_AFTER_FAULT", 0.01)
    world = World(SqliteStore(tmp_path / "relay.db"), webhook_schedule=(0.01, 0.01))
    world.worker.loop._fault_pause = 0.01
    yield world
    world.close()


def call_live(world: World) -> None:
    """Claim and run calls, as the dispatcher does, until no job is due."""
    pacing = Pacing()
    executor = CallExecutor(world.relay, world.claude, Files(world.relay, NoFetcher()), ending=threading.Event())
    while claimed := world.relay.execution.claim("w", limit=5):
        for job in claimed:
            executor.run(InFlightCall(job, pacing.start("sonnet")))


def live_world(world: World, owner: Callable[[World], Any], name: str, error: type[Exception], **fields: Any) -> None:
    failpoint = Failpoint(owner(world), name, error, **fields)
    world.submit("bad", mode="live")
    world.submit("good", mode="live")
    call_live(world)
    assert failpoint.left != fields.get("times", 1), "the failpoint was not reached"


def execution(world: World) -> Any:
    return world.relay.execution


def claude(world: World) -> Any:
    return world.claude


@pytest.mark.parametrize("error", EXCEPTIONS)
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (claude, "call"),
        (execution, "history"),
        (execution, "repair"),
        (execution, "sending"),
        (execution, "checkpoint"),
        (execution, "complete"),
    ],
)
def test_a_passing_fault_in_a_live_call_costs_no_answer_and_no_second_call(
    world: World, owner: Any, name: str, error: type[Exception]
) -> None:
    """CASES F2."""
    live_world(world, owner, name, error)

    assert [world.result(job)["status"] for job in ("bad", "good")] == ["completed", "completed"]
    assert len(world.fake.books) == 2
    assert world.ledger() == pytest.approx(sum(float(cost) for _, cost in world.upload_cache.live))


@pytest.mark.parametrize("error", EXCEPTIONS)
@pytest.mark.parametrize(
    ("owner", "name", "after"), [(execution, "complete", False), (claude, "call", True), (execution, "sending", True)]
)
def test_a_lasting_fault_after_the_call_is_one_failure_with_its_cost(
    world: World, owner: Any, name: str, after: bool, error: type[Exception]
) -> None:
    """CASES F2: what was paid is in the callback, and is not paid again."""
    live_world(world, owner, name, error, after=after, times=1000)
    bad = world.result("bad")

    assert (bad["status"], world.result("good")["status"]) == ("failed", "completed")
    if name == "sending":  # raised before the first byte: three attempts, none of them sent
        assert (bad["attempts"], len(world.fake.books)) == (3, 1)
    else:
        assert bad["errorType"] == "internal" and bad["partialResponse"]
        assert (bad["costUsd"] or 0) > 0
        assert len(world.fake.books) == 2


@pytest.mark.parametrize("error", EXCEPTIONS)
def test_a_fault_while_a_failure_is_stored_leaves_that_failure(world: World, error: type[Exception]) -> None:
    """CASES F2."""
    world.fake.when("bad", *refusal("400 Bad Request", "invalid_request_error"))
    live_world(world, execution, "fail", error)

    assert (world.result("bad")["errorType"], world.result("good")["status"]) == ("invalid_request", "completed")
    assert len(world.fake.books) == 2


@pytest.mark.parametrize("error", EXCEPTIONS)
def test_a_fault_before_a_continuation_does_not_pay_for_its_beginning_again(
    world: World, error: type[Exception]
) -> None:
    """CASES F2."""
    world.fake.when("bad", *answer("Half of it", stop_reason="pause_turn"))
    live_world(world, execution, "start_followup", error)

    assert (world.result("bad")["status"], world.result("good")["status"]) == ("failed", "completed")
    assert world.result("bad")["partialResponse"] == "Half of it"
    assert (world.result("bad")["costUsd"] or 0) > 0
    assert len(world.fake.books) == 2


BATCH_CALLS = [
    *("promote", "plan", "claim_due", "contents", "history", "repair", "sending", "mark_created"),
    *("mark_ended", "content", "record_result", "finish_if_complete", "reschedule_poll"),
]
API_CALLS = ["prepare", "create", "status", "results", "outcome"]


@pytest.mark.parametrize("error", EXCEPTIONS)
@pytest.mark.parametrize("name", [*BATCH_CALLS, *API_CALLS])
def test_a_passing_fault_in_a_batch_costs_no_answer_and_no_second_batch(
    world: World, name: str, error: type[Exception]
) -> None:
    """CASES F2."""
    world.upload_cache.span = 600.0 if name == "reschedule_poll" else 0.0  # for as long as it takes to be polled
    failpoint = Failpoint(world.api if name in API_CALLS else world.relay.batches, name, error)
    world.submit("bad")
    world.submit("good")
    world.worker.start()
    try:
        eventually(lambda: failpoint.left == 0)
        for batch in world.upload_cache.batches.values():
            batch.ready_at = 0.0
        eventually(lambda: all(world.job(job).state.final for job in ("bad", "good")))
    finally:
        world.worker.stop(10)

    assert [world.result(job)["status"] for job in ("bad", "good")] == ["completed", "completed"]
    assert sum(world.upload_cache.answered.values()) == 2
    if name not in ("prepare", "history", "repair"):  # those leave the batch unsent, and go out in the next
        assert len(creations(world)) == 1


@pytest.mark.parametrize("error", EXCEPTIONS)
@pytest.mark.parametrize("name", ["content", "outcome", "record_result"])
def test_a_lasting_fault_in_one_item_is_its_own_failure(world: World, name: str, error: type[Exception]) -> None:
    """CASES F2: its neighbours get their answers."""
    world.submit("bad")
    world.submit("good")
    world.until(lambda: creations(world) and world.job("bad").state is State.BATCHED)
    Failpoint(world.api if name == "outcome" else world.relay.batches, name, error, times=2, job=world.job("bad").id)
    world.ended("bad", "good")

    bad = world.result("bad")
    assert (bad["status"], bad["errorType"]) == ("failed", "internal")
    assert world.result("good")["status"] == "completed"
    assert sum(world.upload_cache.answered.values()) == 2
    if name == "record_result":
        assert (bad["costUsd"] or 0) > 0 and bad["partialResponse"]


SCHEMA = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}


def a_tool_call(text: str) -> tuple[Any, ...]:
    block = {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": text}
    return (
        head(),
        started(),
        event("content_block_start", index=0, content_block=block),
        event("content_block_delta", index=0, delta=delta),
        *stopped("tool_use"),
    )


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "[" * 200 + "]" * 200])
@pytest.mark.parametrize("kind", ["schema", "tool"])
def test_a_value_that_is_no_json_is_repaired_once_and_then_fails_its_job_alone(
    world: World, kind: str, number: str
) -> None:
    """CASES F2."""
    text = f'{{"a":{number}}}'
    world.fake.when("bad", *(answer(text) if kind == "schema" else a_tool_call(text)))
    options = {"model": "claude-sonnet-5-5", "maxTokens": 50} | ({"outputSchema": SCHEMA} if kind == "schema" else {})
    world.relay.submit(a_submission("bad", request={"prompt": "bad", "options": options}))
    world.submit("good", mode="live")
    call_live(world)
    bad = world.result("bad")

    assert (bad["status"], bad["errorType"], bad["attempts"]) == ("failed", "schema", 2)
    assert bad["costUsd"] > 0
    assert world.result("good")["status"] == "completed"
    assert len(world.fake.books) == 3


@pytest.mark.parametrize("number", ["1e999", "NaN", "[" * 200 + "]" * 200])
def test_an_item_with_a_value_that_is_no_json_fails_its_job_alone(world: World, number: str) -> None:
    """CASES F2: its neighbours get their answers, and doctor has no batch to wait for."""
    options = {"model": "claude-sonnet-5-5", "maxTokens": 50, "outputSchema": SCHEMA}
    request = {"prompt": f'say {{"a":{number}}}', "options": options}
    world.relay.submit(a_submission("bad", request=request, mode="batch"))
    world.submit("good")
    world.ended("bad", "good")

    assert (world.result("bad")["errorType"], world.result("good")["status"]) == ("schema", "completed")
    assert world.relay.batches.next_at() is None


def test_a_line_of_results_that_cannot_be_parsed_is_the_result_of_its_item_alone(world: World) -> None:
    """CASES F2: the others are read, and that one is asked again and marked as possibly paid twice."""
    world.submit("bad")
    world.submit("good")
    world.until(lambda: creations(world) and world.job("bad").sent)
    [batch] = world.upload_cache.batches.values()
    lines = [json.dumps({"custom_id": name, "result": world.upload_cache._result(name, params)})
             for name, params in batch.requests.items()]  # fmt: skip
    lines[0] = lines[0][:-2] + ',"x":' + "[" * 100_000 + "]" * 100_000 + "}}"
    world.upload_cache.results_away.append(
        (head(kind="application/x-jsonl"), *(chunk(line.encode() + b"\n") for line in lines), END)
    )
    world.ended("bad", "good")

    assert [world.result(job)["status"] for job in ("bad", "good")] == ["completed", "completed"]
    assert [world.result(job).get("possibleDuplicateCharge") for job in ("bad", "good")] == [True, None]
    assert [len(seen.body["requests"]) for seen in creations(world)] == [2, 1]


class Receives:
    """A receiver that answers 200."""

    def __init__(self) -> None:
        self.posts: list[str] = []

    def post(self, url: str, body: bytes, headers: Any) -> Reply:
        self.posts.append(headers["webhook-id"])
        return Reply(status=200, ms=1)


@pytest.mark.parametrize("error", EXCEPTIONS)
@pytest.mark.parametrize("name", ["exchange", "exchange of a reply", "next_due", "post"])
def test_a_passing_fault_of_a_sender_delays_one_callback_and_loses_none(
    world: World, name: str, error: type[Exception]
) -> None:
    """CASES F2: a reply that was received is not asked for again."""
    receiver = Receives()
    world.submit("bad", mode="live")
    world.submit("good", mode="live")
    call_live(world)
    failpoint = Failpoint(receiver if name == "post" else world.relay.deliveries, name.split(maxsplit=1)[0], error)
    failpoint.only = "Reply(" if "reply" in name else ""
    sender = DeliverySender(world.relay, receiver, worker="w")
    sender.loop._fault_pause = 0.01
    sender.start()
    try:
        eventually(
            lambda: all(world.record(job)["delivery"]["status"] == "delivered" for job in ("bad", "good")), within=30
        )
    finally:
        sender.stop(60)

    assert failpoint.left == 0
    assert sorted(receiver.posts) == sorted(set(receiver.posts)) and len(receiver.posts) == 2
