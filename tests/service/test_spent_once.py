"""Every request of every run is paid for once: in the ledger, in the sums, and in what the callback of its run says."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.jobs.failure import ErrorType, Failure, PartialResponse, Remedy, RequestOutcome
from claude_relay.core.policy import Policy
from claude_relay.services import ClaimedJob, JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.executor import CallExecutor
from claude_relay.worker.files import Files
from claude_relay.worker.inflight import InFlightCall
from claude_relay.worker.pacing import Pacing
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

R = JobRef(request_id="r")
FIRST = {"input_tokens": 10, "output_tokens": 5}
PAUSED = RequestOutcome(outcome="paused", usage=FIRST, cost_usd=0.25, text_length=4)
#: As a call ends whose second request brought nothing: the whole's tokens, and none of the last request's.
NOTHING_CAME: dict[str, Any] = dict(usage=FIRST, last_usage={}, cost_usd=None, partial="Half", ambiguous=True)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db", clock=Clock()), QuietNotifier(), Policy(), rng=random.Random(1))
    relay.submit(a_submission("r", webhook_url=None))
    yield relay
    relay.close()


def claim(relay: Relay) -> ClaimedJob:
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    return claimed


def paused(relay: Relay) -> ClaimedJob:
    """Claude's own tools took long: what it has written was seen, and it was asked to go on."""
    claimed = claim(relay)
    relay.execution.checkpoint(claimed, PartialResponse(text="Half", usage=FIRST, cost_usd=0.25))
    relay.execution.start_followup(claimed, PAUSED)
    return claimed


def the_first_alone_was_paid(relay: Relay) -> None:
    first, second = relay.queries.job_details(R)["calls"]
    assert (first["usage"], first["costUsd"]) == (FIRST, 0.25)
    assert (second["usage"], second["costUsd"]) == (None, None)
    total = relay.queries.cost(by="key")["total"]
    assert (total["inputTokens"], total["outputTokens"], total["costUsd"], total["calls"]) == (10, 5, 0.25, 2)
    assert relay.queries.status(R)["costUsd"] == 0.25


def test_a_pause_that_is_followed_by_a_refusal(relay: Relay) -> None:
    relay.execution.fail(paused(relay), a_failure(ErrorType.UPSTREAM, Remedy.FAIL, **NOTHING_CAME))

    the_first_alone_was_paid(relay)
    assert json.loads(relay.queries.result(R) or b"")["usage"] == FIRST


def test_a_pause_whose_worker_dies(relay: Relay) -> None:
    claimed = paused(relay)
    relay.execution.reap(claimed.job.id, claimed.token, why="killed")

    the_first_alone_was_paid(relay)
    assert relay.queries.partial(R) == "Half"


class PausesThenHangs:
    """Goes on after a pause, and hears nothing more until it is told to stop."""

    def call(self, prompt: Any, *, stop: Any, sending: Any, progress: Any, on_followup: Any, **_: Any) -> Failure:
        sending()
        progress(PartialResponse(text="Half", usage=FIRST, cost_usd=0.25))
        on_followup(PAUSED)
        why: Failure = stop()
        return Failure(type=why.type, message=why.message, remedy=why.remedy, **NOTHING_CAME)


def test_a_pause_that_is_cut_by_a_planned_stop(relay: Relay) -> None:
    ending = threading.Event()
    claude = PausesThenHangs()
    caller = CallExecutor(relay, claude, Files(relay, None), ending=ending)  # type: ignore[arg-type]
    [claimed] = relay.execution.claim("w", limit=1)
    pause = relay.execution.start_followup

    def on_followup(claimed: ClaimedJob, step: RequestOutcome) -> None:
        pause(claimed, step)
        ending.set()

    relay.execution.start_followup = on_followup  # type: ignore[method-assign]
    caller.run(InFlightCall(claimed, Pacing().start("sonnet")))

    the_first_alone_was_paid(relay)


def test_a_worker_that_dies_before_a_word_came_pays_nothing_of_the_try_before(relay: Relay) -> None:
    claimed = claim(relay)
    relay.execution.checkpoint(claimed, PartialResponse(text="Half", usage=FIRST, cost_usd=0.25))
    relay.execution.reap(claimed.job.id, claimed.token, why="killed")
    again = claim(relay)
    relay.execution.reap(again.job.id, again.token, why="killed")

    the_first_alone_was_paid(relay)


def test_a_late_result_of_an_older_run_is_not_the_new_runs(relay: Relay) -> None:
    """It is in the ledger and in the sums; the new run's callback, and what it may cost, know nothing of it."""
    relay.submit(a_submission("b", webhook_url=None, mode="batch"))
    relay = Relay(relay._store, QuietNotifier(), Policy(batch_linger=0.0, batch_settle=0.0), rng=random.Random(2))
    batches = relay.batches
    batch = batches.plan("w")
    assert batch is not None
    [one] = batches.contents(batch)
    batches.sending(batch, [one.item.custom_id])
    ref = JobRef(request_id="b")
    relay.cancel(ref)
    relay.retry(ref)
    late = batches.content(batch, one.item.custom_id)
    assert late is not None
    batches.record_result(late, a_completion("late", cost_usd=0.5))
    # Another worker had it in hand at the same time, and comes second.
    assert batches.record_result(late, a_completion("late", cost_usd=0.5)) is None

    assert relay.queries.status(ref)["costUsd"] is None
    assert [call["costUsd"] for call in relay.queries.job_details(ref)["calls"]] == [0.5]
    assert relay.queries.cost(by="mode")["total"]["costUsd"] == 0.5


def test_a_job_is_not_purged_before_its_late_result_is_booked(tmp_path: Path) -> None:
    """However short its retention: what a cancelled job's item costs belongs into the sums."""
    clock = Clock()
    policy = Policy(batch_linger=0.0, retention=60.0, retention_failed=60.0)
    relay = Relay(SqliteStore(tmp_path / "other.db", clock=clock), QuietNotifier(), policy, rng=random.Random(3))
    relay.submit(a_submission("b", webhook_url=None, mode="batch"))
    batch = relay.batches.plan("w")
    assert batch is not None
    [one] = relay.batches.contents(batch)
    relay.batches.sending(batch, [one.item.custom_id])
    relay.cancel(JobRef(request_id="b"))
    clock.advance(3600)
    assert relay.maintenance.purge() == 0

    late = relay.batches.content(batch, one.item.custom_id)
    assert late is not None
    relay.batches.record_result(late, a_completion("late", cost_usd=0.5))
    assert relay.maintenance.purge() == 1
    assert relay.queries.cost(by="mode")["total"]["costUsd"] == 0.5
    relay.close()
