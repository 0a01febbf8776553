"""Batches from submit to outcome: the real use cases and client, against a fake upstream with its own books."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from claude_relay.claude.messages import AnthropicMessages
from claude_relay.config.price_file import load_prices
from claude_relay.core.jobs.job import Job, State
from claude_relay.core.policy import Policy
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.worker.batch_runner import BatchRunner
from claude_relay.worker.files import Files
from tests.service.conftest import NewStore
from tests.support.builders import QuietNotifier, a_completion, a_failure, a_submission
from tests.support.eventually import eventually
from tests.support.fake_batches import Shelf, live
from tests.support.fake_claude import FakeClaude, Reset, refusal

DAY = 86_400.0


class NoFetcher:
    """Nothing is fetched here."""

    def fetch(self, url: str, *, max_bytes: int, stop: Any) -> Any:
        raise AssertionError(f"{url} was fetched")


@dataclass
class KeptSpan:
    """A span that keeps what it gets."""

    name: str
    parent: str | None
    began: float | None
    attributes: dict[str, Any]
    traceparent: str | None = None
    ended: float | None = None
    error: str | None = None

    def set(self, attributes: dict[str, Any]) -> None:
        self.attributes |= attributes

    def end(self, *, error: str | None = None, at: float | None = None) -> None:
        self.ended, self.error = at, error


class Spans:
    """A tracer that keeps its spans."""

    def __init__(self) -> None:
        self.spans: list[KeptSpan] = []

    def start(
        self,
        name: str,
        *,
        parent: str | None,
        kind: str,
        at: float | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> KeptSpan:
        self.spans.append(KeptSpan(name, parent, at, dict(attributes or {})))
        return self.spans[-1]

    def close(self) -> None: ...


class World:
    """A relay, an upstream and any number of workers; time is real."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time, **policy: Any) -> None:
        self.clock = clock
        self.fake = FakeClaude().start()
        self.upload_cache = Shelf()
        self.fake.otherwise = live(self.upload_cache)
        self.upload_cache.on(self.fake)
        known = dict(batch_linger=0.0, batch_poll=(0.01, 0.05), batch_settle=0.0, delivery_delay=0.0, backoff_base=0.0)
        self.store = store
        self.relay = Relay(self.store, QuietNotifier(), Policy(**(known | policy)), rng=random.Random(1))
        self.claude = AnthropicMessages(api_key="sk-ant-x", prices=load_prices(None), base_url=self.fake.url)
        self.api = self.claude.batches()
        self.worker = self.another("w")

    def another(self, name: str, **fields: Any) -> BatchRunner:
        return BatchRunner(
            self.relay, self.api, Files(self.relay, NoFetcher()), worker=name, **({"clock": self.clock} | fields)
        )

    def submit(self, name: str, prompt: str | None = None, **fields: Any) -> None:
        request = {"prompt": prompt or f"job {name}", "options": {"model": "claude-sonnet-5-5", "maxTokens": 50}}
        self.relay.submit(a_submission(name, request=request, **({"mode": "batch"} | fields)))

    def job(self, name: str) -> Job:
        return self.store.read(lambda tx: tx.find(name, None)[0])

    def record(self, name: str) -> dict[str, Any]:
        return self.relay.queries.job_details(JobRef(request_id=name))

    def result(self, name: str) -> dict[str, Any]:
        return json.loads(self.relay.queries.result(JobRef(request_id=name)) or b"null")

    def until(self, condition: Any, within: float = 60.0) -> None:
        """Run the worker's steps until the condition holds."""

        def turned() -> bool:
            self.worker.turn()
            return bool(condition())

        eventually(turned, within=within, every=0.01)

    def ended(self, *names: str) -> None:
        self.until(lambda: all(self.job(name).state.final for name in names))

    def ledger(self) -> float:
        calls = self.store.read(lambda tx: [tx.calls(job.id) for job in self._all(tx)])
        return sum(call.cost_usd or 0.0 for each in calls for call in each)

    def _all(self, tx: Any) -> Any:
        from claude_relay.ports import JobFilter

        return tx.jobs(JobFilter(limit=500))

    def close(self) -> None:
        self.api.close()
        self.claude.close()
        self.store.close()
        self.fake.stop()


@pytest.fixture
def world(new_store: NewStore) -> Iterator[World]:
    world = World(new_store())
    yield world
    world.close()


def creations(world: World) -> list[Any]:
    return [seen for seen in world.fake.books if seen.method == "POST" and seen.path == "/v1/messages/batches"]


def test_jobs_share_a_batch_and_each_gets_its_own_outcome(world: World) -> None:
    """At half the price, and the callback says so."""
    for name in "abc":
        world.submit(name)
    world.ended("a", "b", "c")

    assert len(creations(world)) == 1
    for name in "abc":
        body = world.result(name)
        assert body["response"] == f"batched answer to job {name}"
        assert (body["status"], body["mode"]) == ("completed", "batch")
        assert body["savedUsd"] == pytest.approx(body["costUsd"])
        [call] = world.record(name)["calls"]
        assert (call["mode"], call["outcome"], call["sent"]) == ("batch", "completed", True)
        assert call["upstreamRequestId"] == "msgbatch_000001"
    assert world.ledger() == pytest.approx(float(sum(world.upload_cache.paid.values())), abs=1e-12)
    assert set(world.upload_cache.answered.values()) == {1}


def test_each_call_of_a_batch_is_a_span_under_the_trace_of_its_caller(world: World) -> None:
    """CONTRACT §9: from when the batch was sent, with the attributes of a live call."""
    tracer = Spans()
    world.worker = world.another("w", tracer=tracer)
    parents = {name: f"00-{name * 32}-{name * 16}-01" for name in "ab"}
    for name, parent in parents.items():
        world.submit(name, traceparent=parent)
    world.ended("a", "b")
    calls = [span for span in tracer.spans if span.name == "anthropic.messages.create"]
    waits = [span for span in tracer.spans if span.name == "claude_relay.wait"]

    assert {span.parent for span in calls} == {span.parent for span in waits} == set(parents.values())
    for span in calls:
        assert span.attributes["claude_relay.batch.id"] == "msgbatch_000001"
        assert span.attributes["gen_ai.request.stream"] is False
        assert span.began is not None and span.ended is not None and span.began <= span.ended
    [done] = [span for span in calls if span.parent == parents["a"]]
    assert done.error is None and done.attributes["gen_ai.usage.output_tokens"] > 0
    assert done.attributes["anthropic.message.stop_reason"] == "end_turn"


def test_a_failed_job_of_a_batch_says_what_the_batch_has_saved(new_store: NewStore) -> None:
    """As in the other callback: nothing where nothing was called; and a live job has no such field."""
    world = World(new_store())
    try:
        world.submit("a")
        world.relay.cancel(JobRef(request_id="a"))
        world.submit("b", mode="live")
        world.relay.cancel(JobRef(request_id="b"))
        assert world.result("a")["savedUsd"] == 0.0
        assert "savedUsd" not in world.result("b")
    finally:
        world.close()


def test_a_batch_leaves_by_size_and_by_linger(new_store: NewStore) -> None:
    world = World(new_store(), batch_size=2, batch_linger=3600.0)
    try:
        for name in "abc":
            world.submit(name)
        world.ended("a", "b")
        world.worker.turn()
        assert world.job("c").state is State.QUEUED
        assert world.relay.queries.status(JobRef(request_id="c"))["waitingFor"] == "batch: gathering"
    finally:
        world.close()


def test_jobs_over_the_size_of_a_batch_are_split_into_several(world: World) -> None:
    """Split by the bytes that are sent, which exceed those that are stored; each job is sent once."""
    world.worker = world.another("w", most=1000)
    for name in ("a", "b", "c", "big", "d"):
        world.submit(name, "x" * (2000 if name == "big" else 200))
    world.ended("a", "b", "c", "big", "d")

    sent = [
        [len(one["params"]["messages"][0]["content"]) for one in seen.body["requests"]] for seen in creations(world)
    ]
    assert [2000] in sent and sum(len(batch) for batch in sent) == 5
    assert max(len(batch) for batch in sent) == 2  # of some 350 bytes each
    assert set(world.upload_cache.answered.values()) == {1}


def test_requests_with_other_betas_do_not_share_a_batch(world: World) -> None:
    """The header holds for the whole of it."""
    for name, betas in (("a", None), ("b", ["x-2026"]), ("c", None)):
        raw = {"raw": {"betas": betas}} if betas else {}
        options = {"model": "claude-sonnet-5-5", "maxTokens": 50, **raw}
        world.relay.submit(a_submission(name, request={"prompt": name, "options": options}, mode="batch"))
    world.ended("a", "b", "c")

    sent = {seen.headers.get("anthropic-beta"): len(seen.body["requests"]) for seen in creations(world)}
    assert sent == {None: 2, "x-2026": 1}


def test_a_bad_item_sinks_no_other(world: World) -> None:
    """A refused batch is halved until the bad item is alone; that one is called live."""
    for name in "abcde":
        world.submit(name, f"bad-batch {name}" if name == "c" else None)
    world.fake.when("bad-batch c", *refusal("400 Bad Request", "invalid_request_error", text="that is bad"))
    world.until(lambda: all(world.job(name).state.final for name in "abde"))
    c = world.job("c")

    assert (c.state, c.lane) == (State.QUEUED, "live")
    assert "called live" in world.record("c")["warnings"][0]
    assert set(world.upload_cache.answered.values()) == {1}


@pytest.mark.parametrize(("word", "attempts"), [("errored", 2), ("expired", 2)], ids=["an error upstream", "expired"])
def test_an_item_that_came_to_nothing_is_tried_again(world: World, word: str, attempts: int) -> None:
    world.submit("a", f"{word} once")
    world.submit("b")
    world.ended("a", "b")

    assert world.result("a")["status"] == "completed"
    assert world.result("a")["attempts"] == attempts
    assert len(world.record("b")["calls"]) == 1


def test_an_invalid_item_has_failed(world: World) -> None:
    world.submit("a", "invalid")
    world.submit("b")
    world.ended("a", "b")

    assert (world.result("a")["errorType"], world.result("a")["attempts"]) == ("invalid_request", 1)
    assert world.result("b")["status"] == "completed"


def test_a_refusal_is_a_failure_and_was_paid_for(world: World) -> None:
    world.submit("a", "refuse")
    world.ended("a")

    assert world.result("a")["errorType"] == "refused"
    assert world.result("a")["costUsd"] == pytest.approx(
        float(world.upload_cache.paid[next(iter(world.upload_cache.paid))])
    )


@pytest.mark.parametrize("span", [0.0, 1.0])
def test_a_batch_that_was_made_and_not_answered_is_found_again(world: World, span: float) -> None:
    """The connection broke after the creation: no job is paid twice, also where the batch runs for long."""
    world.upload_cache.span = span  # until its end no names can be seen in it, and RELAY_BATCH_SETTLE is over by then
    world.upload_cache.creations.append("reset")
    world.submit("a")
    world.submit("b")
    world.ended("a", "b")

    assert len(creations(world)) == 1
    assert set(world.upload_cache.answered.values()) == {1}
    assert "possibleDuplicateCharge" not in world.result("a")


def test_a_lost_batch_is_told_from_a_stranger_of_the_same_size(world: World) -> None:
    """Another program with the same key created a batch of the same size at the same time."""
    import requests

    params = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "theirs"}]}
    body = {"requests": [{"custom_id": "theirs-1", "params": params}]}
    requests.post(f"{world.fake.url}/v1/messages/batches", json=body, timeout=60)
    world.upload_cache.creations.append("reset")
    world.submit("a")
    world.ended("a")

    assert world.result("a")["response"] == "batched answer to job a"
    assert max(world.upload_cache.answered.values()) == 1


def test_a_stranger_of_the_same_size_is_not_waited_for(world: World) -> None:
    """Our batch never arrived: the other program's must not keep its jobs from being sent again."""
    import requests

    params = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "theirs"}]}
    body = {"requests": [{"custom_id": "theirs-1", "params": params}]}
    requests.post(f"{world.fake.url}/v1/messages/batches", json=body, timeout=60)
    world.upload_cache.creations.append((Reset(),))
    world.submit("a")
    world.ended("a")

    assert world.result("a")["response"] == "batched answer to job a"
    assert len(creations(world)) == 3


def test_two_lost_batches_of_one_size_are_told_apart(new_store: NewStore) -> None:
    world = World(new_store(), batch_size=1, batch_poll=(0.5, 0.5))  # both are sent before either is looked for
    try:
        world.upload_cache.creations += ["reset", "reset"]
        world.submit("a")
        world.submit("b")
        world.ended("a", "b")

        assert len(creations(world)) == 2
        assert set(world.upload_cache.answered.values()) == {1}
        assert world.result("b")["response"] == "batched answer to job b"
    finally:
        world.close()


def test_a_batch_that_never_arrived_goes_out_again_and_counts_nothing(world: World) -> None:
    world.upload_cache.creations.append((Reset(),))
    world.submit("a")
    world.ended("a")

    assert len(creations(world)) == 2
    assert world.result("a")["attempts"] == 1
    assert [call["outcome"] for call in world.record("a")["calls"]] == ["released", "completed"]


def test_results_are_read_once(world: World) -> None:
    """When a worker dies in the middle of the results, another applies the rest, each once."""
    for name in "abcdef":
        world.submit(name)
    world.until(lambda: world.upload_cache.batches)
    read, real = [], world.relay.batches.record_result

    def dies(one: Any, end: Any, **more: Any) -> Any:
        if len(read) == 3:
            raise SystemExit
        read.append(one.item.custom_id)
        return real(one, end, **more)

    world.relay.batches.record_result = dies  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        world.until(lambda: False)
    world.relay.batches.record_result = real  # type: ignore[method-assign]
    world.relay.maintenance.deregister("w")
    world.worker = world.another("w2")
    world.ended(*"abcdef")

    for name in "abcdef":
        assert [event["event"] for event in world.record(name)["events"]].count("completed") == 1
    assert world.ledger() == pytest.approx(float(sum(world.upload_cache.paid.values())), abs=1e-12)


def test_a_cancelled_job_ends_at_once_and_its_late_result_is_booked(world: World) -> None:
    world.upload_cache.span = DAY
    world.submit("a")
    world.submit("b")
    world.until(lambda: world.job("a").state is State.BATCHED and world.job("a").sent)
    world.relay.cancel(JobRef(request_id="a"))
    [batch] = world.upload_cache.batches.values()
    batch.ready_at = 0.0

    assert world.result("a")["errorType"] == "cancelled"
    assert world.result("a")["possibleDuplicateCharge"] is True
    world.ended("b")
    assert world.record("a")["costUsd"] == pytest.approx(world.record("b")["costUsd"])
    assert world.ledger() == pytest.approx(float(sum(world.upload_cache.paid.values())), abs=1e-12)
    assert world.result("a")["status"] == "failed"


def test_a_batch_that_nobody_waits_for_is_cancelled_upstream(world: World) -> None:
    world.submit("a", "slow-batch")
    world.until(lambda: world.upload_cache.batches)
    world.until(lambda: world.job("a").sent)
    world.relay.cancel(JobRef(request_id="a"))
    world.until(lambda: next(iter(world.upload_cache.batches.values())).canceling)
    world.until(lambda: world.relay.batches.next_at() is None)

    assert not world.upload_cache.paid


def test_results_that_stay_away_are_asked_for_again(world: World) -> None:
    away = refusal("500 Internal Server Error", "api_error")
    world.upload_cache.results_away += [away, away, away]
    world.submit("a")
    world.ended("a")

    assert world.result("a")["status"] == "completed"
    assert set(world.upload_cache.answered.values()) == {1}


def test_a_batch_that_upstream_forgot_is_admitted_as_a_double_charge(world: World) -> None:
    world.upload_cache.span = 3600.0
    world.submit("a")
    world.until(lambda: world.job("a").sent)
    world.upload_cache.lose("msgbatch_000001")
    world.upload_cache.span = 0.0
    world.ended("a")

    assert world.result("a")["status"] == "completed"
    assert world.result("a")["possibleDuplicateCharge"] is True


def test_a_batch_that_is_not_known_for_a_moment_is_not_believed_to_be_lost(world: World) -> None:
    """A replica that lags behind: a batch given up for that would be paid twice."""
    world.upload_cache.span = 3600.0
    world.submit("a")
    world.until(lambda: world.job("a").sent)
    hidden = world.upload_cache.batches.pop("msgbatch_000001")
    looks = len(world.fake.books)
    world.until(lambda: len(world.fake.books) >= looks + 2)
    world.upload_cache.batches[hidden.id] = replace(hidden, ready_at=0.0)
    world.ended("a")

    assert "possibleDuplicateCharge" not in world.result("a")
    assert len(creations(world)) == 1


def test_a_refused_key_parks_the_queue_and_one_batch_probes(world: World) -> None:
    world.upload_cache.creations.append(refusal("401 Unauthorized", "authentication_error"))
    world.submit("a")
    world.until(lambda: world.relay.queries.overview()["holds"])
    assert world.job("a").state is State.QUEUED
    for _ in range(3):
        world.worker.turn()
    assert len(creations(world)) == 1

    world.relay.resume()
    world.ended("a")
    assert world.result("a")["attempts"] == 1


@pytest.mark.parametrize(
    ("code", "text"),
    [(None, "Your credit balance is too low to access the Anthropic API."), ("organization_on_hold", "On hold.")],
)
def test_a_creation_refused_for_a_limit_of_the_account_parks_and_fails_no_job(
    world: World, code: str | None, text: str
) -> None:
    """CASES F1: neither halved nor called live, as for a fault of one of its items."""
    world.upload_cache.creations.append(refusal("400 Bad Request", "invalid_request_error", code, text=text))
    world.submit("a")
    world.submit("b")
    world.until(lambda: world.relay.queries.overview()["holds"])
    assert [world.job(name).state for name in "ab"] == [State.QUEUED, State.QUEUED]

    world.relay.resume()
    world.ended("a", "b")
    assert [world.result(name)["status"] for name in "ab"] == ["completed", "completed"]
    assert not world.upload_cache.live


def test_an_item_that_tells_of_a_limit_of_the_account_parks_and_is_asked_again(world: World) -> None:
    """CASES F1."""
    world.upload_cache.item_errors.append("Your credit balance is too low to access the Anthropic API.")
    world.submit("a")
    world.until(lambda: world.relay.queries.overview()["holds"])
    assert (world.job("a").state, world.job("a").attempt) == (State.QUEUED, 0)

    world.relay.resume()
    world.ended("a")
    assert world.result("a")["status"] == "completed"


def test_a_workspace_without_human_review_goes_live_with_a_warning(world: World) -> None:
    """CASES F1: the batch API as a whole is refused, so no batch is halved to look for a bad item."""
    refused = refusal("400 Bad Request", "invalid_request_error", "workspace_human_review_disabled")
    world.upload_cache.creations.append(refused)
    world.submit("a")
    world.submit("b")
    world.until(lambda: {world.job(name).lane for name in "ab"} == {"live"})

    assert len(creations(world)) == 1
    assert "called live, at the full price" in world.record("b")["warnings"][0]


def test_a_throttled_creation_waits_and_counts_nothing(world: World) -> None:
    world.upload_cache.creations.append(
        refusal("429 Too Many Requests", "rate_limit_error", None, ("retry-after", "1"))
    )
    world.submit("a")
    world.ended("a")

    assert world.result("a")["attempts"] == 1
    assert len(creations(world)) == 2


def test_where_there_are_no_batches_it_is_called_live_with_a_warning(world: World) -> None:
    """A gateway may lack the batch API."""
    world.upload_cache.creations.append(refusal("404 Not Found", "not_found_error"))
    world.submit("a")
    world.until(lambda: world.job("a").lane == "live")

    assert "called live, at the full price" in world.record("a")["warnings"][0]
    [claimed] = world.relay.execution.claim("w", limit=1)
    world.relay.execution.complete(claimed, a_completion())
    assert "called live, at the full price" in world.result("a")["warnings"][0]


def test_warnings_of_one_run_are_not_carried_to_the_next(world: World) -> None:
    world.upload_cache.creations.append(refusal("404 Not Found", "not_found_error"))
    world.submit("a")
    world.until(lambda: world.job("a").lane == "live")
    [claimed] = world.relay.execution.claim("w", limit=1)
    world.relay.execution.complete(claimed, a_completion())
    world.relay.retry(JobRef(request_id="a"))
    assert world.record("a")["warnings"] == []
    world.ended("a")

    assert (world.result("a")["warnings"], world.result("a")["mode"]) == ([], "batch")


def test_an_asked_for_deadline_ends_a_job_in_its_batch(world: World) -> None:
    world.upload_cache.span = DAY
    world.submit("a", deadline_at=time.time() + 2.0)
    world.until(lambda: world.job("a").sent)
    world.until(world.relay.maintenance.expire)

    assert world.result("a")["errorType"] == "deadline"


def test_a_default_deadline_stands_still_in_a_batch(world: World) -> None:
    world.upload_cache.span = 0.3
    world.submit("a", "expired once")
    before = world.job("a").deadline_at
    world.until(lambda: world.job("a").calls == 2)

    assert before is not None and (world.job("a").deadline_at or 0) >= before + 0.3


def test_max_cost_limits_the_answer_in_a_batch(world: World) -> None:
    """An item cannot be stopped in the middle of its answer, so its tokens are limited to what maxCostUsd pays for."""
    world.submit("a", max_cost_usd=0.0001)
    world.ended("a")
    [sent] = [one for batch in world.upload_cache.batches.values() for one in batch.requests.values()]

    assert 10 < sent["max_tokens"] < 50
    world.submit("b", "word " * 5000, max_cost_usd=0.0001)
    world.ended("b")
    assert world.result("b")["errorType"] == "budget"


def test_the_wire_says_where_it_is(world: World) -> None:
    world.upload_cache.span = 3600.0
    world.submit("a")
    assert world.relay.queries.status(JobRef(request_id="a"))["status"] == "pending"
    world.until(lambda: world.job("a").sent)
    record = world.record("a")

    assert record["status"] == "processing"
    assert record["waitingFor"].startswith("batch: ")
    assert record["batch"]["upstreamId"] == "msgbatch_000001"
    assert record["batch"]["jobs"] == 1


def test_auto_is_a_batch_while_there_is_time(world: World) -> None:
    world.submit("a", mode="auto", need_by=time.time() + 7200)
    world.ended("a")

    assert (world.result("a")["mode"], world.job("a").mode) == ("batch", "auto")
    assert world.result("a")["savedUsd"] > 0


def test_auto_is_live_where_there_is_none(world: World) -> None:
    world.submit("a", mode="auto", need_by=time.time() + 60)

    assert world.job("a").lane == "live"
    assert world.relay.execution.claim("w", limit=1)
    assert world.relay.batches.plan("w") is None


class RunningClock:
    """Wall-clock time that runs, and can be advanced."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


#: In seconds: needBy from its submit, the margin before it, and how long before it a batch is given up, or left behind.
NEEDED_IN, MARGIN = 7200.0, 600.0
GIVEN_UP, LEFT = NEEDED_IN - 1.25 * MARGIN + 1.0, NEEDED_IN - MARGIN + 1.0


@pytest.fixture
def running_clock() -> RunningClock:
    return RunningClock()


@pytest.fixture
def hasty(new_store: NewStore, running_clock: RunningClock) -> Iterator[World]:
    world = World(new_store(clock=running_clock), clock=running_clock, batch_margin=MARGIN)
    yield world
    world.close()


def called_live(world: World) -> Any:
    """Call a claimed job live, as a worker does."""
    [claimed] = eventually(lambda: world.relay.execution.claim("w", limit=1))
    from claude_relay.ports import CallRequest

    world.relay.execution.sending(claimed)
    prompt = CallRequest(job=claimed.job, request=claimed.request.request)
    done = world.claude.call(prompt, stop=lambda: None, sending=lambda: None, progress=lambda partial: None)
    return world.relay.execution.complete(claimed, done)  # type: ignore[arg-type]


def test_auto_that_is_not_back_in_time_is_given_up_and_called_live(hasty: World, running_clock: RunningClock) -> None:
    """Its batch is cancelled first, so that nothing is paid twice; it is back before its needBy."""
    need_by = running_clock() + NEEDED_IN
    hasty.submit("a", "slow-batch", mode="auto", need_by=need_by)
    hasty.until(lambda: hasty.job("a").sent)
    running_clock.advance(GIVEN_UP)
    hasty.until(lambda: hasty.job("a").lane == "live")
    called_live(hasty)
    body = hasty.result("a")

    assert running_clock() < need_by
    assert (body["status"], body["mode"], body["savedUsd"]) == ("completed", "live", 0.0)
    assert "possibleDuplicateCharge" not in body
    assert not hasty.upload_cache.paid
    assert [call["outcome"] for call in hasty.record("a")["calls"]] == ["given_up", "completed"]


def test_a_batch_that_does_not_end_when_it_is_given_up_costs_twice_and_says_so(
    hasty: World, running_clock: RunningClock
) -> None:
    hasty.submit("a", mode="auto", need_by=running_clock() + NEEDED_IN)
    hasty.upload_cache.span = DAY
    hasty.until(lambda: hasty.job("a").sent)
    [batch] = hasty.upload_cache.batches.values()
    batch.unstoppable = True
    running_clock.advance(LEFT)
    hasty.until(lambda: hasty.job("a").lane == "live")
    called_live(hasty)

    assert hasty.result("a")["possibleDuplicateCharge"] is True
    batch.ready_at = 0.0
    hasty.until(lambda: hasty.relay.batches.next_at() is None)
    assert hasty.ledger() == pytest.approx(
        float(sum(hasty.upload_cache.paid.values()) + hasty.upload_cache.live[0][1]), abs=1e-12
    )
    assert hasty.job("a").cost_usd == pytest.approx(hasty.ledger())


def test_a_job_that_leaves_while_its_batch_is_packed_does_not_go_along(world: World) -> None:
    """Otherwise it would be paid for although no job waits for it, without a ledger entry."""
    world.submit("a")
    world.submit("b")
    packed, real = [], world.api.prepare

    def parcel(custom_id: str, prompt: Any) -> Any:
        if not packed:
            world.relay.cancel(JobRef(request_id="a"))
        packed.append(custom_id)
        return real(custom_id, prompt)

    world.api.prepare = parcel  # type: ignore[method-assign]
    world.ended("b")

    assert [len(batch.requests) for batch in world.upload_cache.batches.values()] == [1]
    assert "possibleDuplicateCharge" not in world.result("a")
    [call] = world.record("a")["calls"]
    assert (call["outcome"], call["sent"]) == ("cancelled", False)


def test_a_late_batch_that_beats_the_live_call_is_taken(hasty: World, running_clock: RunningClock) -> None:
    """Promoted, but nothing was sent yet: the answer that is paid for is the one that counts."""
    hasty.upload_cache.span = DAY
    hasty.submit("a", mode="auto", need_by=running_clock() + NEEDED_IN)
    hasty.until(lambda: hasty.job("a").sent)
    [batch] = hasty.upload_cache.batches.values()
    batch.unstoppable = True
    running_clock.advance(LEFT)
    hasty.until(lambda: hasty.job("a").lane == "live")
    batch.ready_at = 0.0
    hasty.ended("a")

    assert hasty.result("a")["mode"] == "batch"
    assert not hasty.relay.execution.claim("w", limit=1)


def test_auto_that_was_not_even_sent_goes_live_in_time(new_store: NewStore, running_clock: RunningClock) -> None:
    """Throttled, or still gathering: what matters is when it is needed."""
    world = World(new_store(clock=running_clock), clock=running_clock, batch_margin=MARGIN, batch_linger=36_000.0)
    try:
        world.submit("a", mode="auto", need_by=running_clock() + NEEDED_IN)
        assert world.job("a").lane == "batch"
        running_clock.advance(LEFT)
        world.until(lambda: world.job("a").lane == "live")
        assert world.job("a").calls == 0
    finally:
        world.close()


def test_one_schema_that_cannot_be_used_keeps_no_others_from_their_results(world: World) -> None:
    """The invalid schema shows only when the answer is checked; it is paid for, and is the caller's error."""
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/nowhere"}}}
    options = {"model": "claude-sonnet-5-5", "maxTokens": 50, "outputSchema": schema}
    world.relay.submit(a_submission("odd", mode="batch", request={"prompt": 'say {"a": 1}', "options": options}))
    world.submit("b")
    world.ended("odd", "b")

    assert (world.result("odd")["errorType"], world.result("b")["status"]) == ("invalid_request", "completed")
    assert world.ledger() == pytest.approx(float(sum(world.upload_cache.paid.values())), abs=1e-12)


def test_a_creation_that_was_long_on_its_way_is_looked_for_the_full_time(new_store: NewStore) -> None:
    """An upload may take ten minutes and then succeed: the search that starts then must not send it again at once."""
    world = World(new_store(), batch_settle=60.0)
    try:
        world.submit("a")
        world.relay.batches.plan("w")
        batch = world.relay.batches.claim_due("w")
        assert batch is not None
        [one] = world.relay.batches.contents(batch)
        sent = world.relay.batches.sending(batch, [one.item.custom_id])
        assert sent.sent_at is not None
        began = replace(sent, sent_at=sent.sent_at - 600)
        world.relay.batches.mark_create_unknown(began, a_failure(ambiguous=True))
        looked_at = world.relay.batches.next_at()
        world.until(lambda: world.relay.batches.next_at() != looked_at)

        assert world.job("a").state is State.BATCHED
    finally:
        world.close()
