"""Groups, priority, pauses, deadlines and retention: the use cases on a real store, with a manual clock."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, PartialResponse, Remedy
from claude_relay.core.jobs.job import OnInterrupt, Retain
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict, NotFound, QueueFull, StoreUnavailable
from claude_relay.ports import JobFilter, Store
from claude_relay.services import Accepted, FamilyCapacity, JobRef, Relay
from claude_relay.services.queries import Queries
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    relay = Relay(store, QuietNotifier(), Policy(max_queue=20), rng=random.Random(1))
    yield relay
    relay.close()


def submit(relay: Relay, *names: str, **fields: object) -> None:
    for name in names:
        relay.submit(a_submission(name, **fields))


def claim(relay: Relay, limit: int = 99, **how: object) -> list[str]:
    return [one.job.request_id for one in relay.execution.claim("w", limit=limit, **how)]  # type: ignore[arg-type]


def waiting(relay: Relay, name: str) -> str | None:
    return relay.queries.status(JobRef(request_id=name))["waitingFor"]  # type: ignore[no-any-return]


def test_a_head_start_is_a_head_start_and_nothing_starves(relay: Relay, clock: Clock) -> None:
    """Sixty seconds ahead of jobs due at the same time; behind jobs that have waited longer than that."""
    submit(relay, "old")
    clock.advance(61)
    submit(relay, "plain")
    submit(relay, "urgent", priority=60.0)

    assert claim(relay) == ["old", "urgent", "plain"]


def test_a_group_runs_no_more_than_its_concurrency_and_holds_up_nobody_else(relay: Relay) -> None:
    relay.set_group("g", concurrency=2, rate=None)
    submit(relay, "g1", "g2", "g3", group="g")
    submit(relay, "other")

    assert claim(relay) == ["g1", "g2", "other"]
    assert waiting(relay, "g3") == "concurrency"
    relay.cancel(JobRef(request_id="g3"))


def test_a_freed_place_is_the_next_ones(relay: Relay) -> None:
    relay.set_group("g", concurrency=1, rate=None)
    submit(relay, "g1", "g2", group="g")
    [first] = relay.execution.claim("w", limit=9)
    relay.execution.complete(first, a_completion())

    assert claim(relay) == ["g2"]


def test_a_rate_is_spread_over_its_minute(relay: Relay, clock: Clock) -> None:
    """Thirty a minute is one every two seconds, not thirty in the first."""
    relay.set_group("g", concurrency=None, rate=30)
    submit(relay, *(f"g{n}" for n in range(5)), group="g")
    counts = []
    for _ in range(5):
        counts.append(len(claim(relay)))
        clock.advance(1.0)

    assert counts == [1, 0, 1, 0, 1]


def test_a_start_that_comes_a_little_late_shifts_none_after_it(relay: Relay, clock: Clock) -> None:
    """Otherwise a rate would never be reached; an idle group does not save up starts."""
    relay.set_group("g", concurrency=None, rate=600)
    submit(relay, *(f"g{n}" for n in range(15)), group="g")
    counts = []
    for _ in range(10):
        counts.append(len(claim(relay)))
        clock.advance(0.15)
    clock.advance(60)

    assert sum(counts) == 14  # in 1.35 s, at one each 0.1 s
    assert len(claim(relay)) == 1


def test_waiting_for_capacity_differs_from_having_none(relay: Relay, clock: Clock) -> None:
    """A worker learns whether the end of a call, or the time, frees capacity for due jobs."""
    assert relay.execution.seconds_until_capacity() is None
    relay.set_group("full", concurrency=1, rate=None)
    submit(relay, "f1", "f2", group="full")
    claim(relay)
    assert relay.execution.seconds_until_capacity() == float("inf")
    relay.set_group("slow", concurrency=None, rate=30)
    submit(relay, "s1", "s2", group="slow")
    claim(relay)
    assert relay.execution.seconds_until_capacity() == pytest.approx(2.0)
    relay.pause("full"), relay.pause("slow")
    assert relay.execution.seconds_until_capacity() is None
    relay.resume("full"), relay.pause()
    assert relay.execution.seconds_until_capacity() is None


def test_a_pause_takes_nothing_and_gives_the_time_back(relay: Relay, clock: Clock) -> None:
    """A default deadline does not run meanwhile; a requested one does."""
    submit(relay, "default", group="g")
    submit(relay, "asked", group="g", deadline_at=clock() + 3600)
    relay.pause("g")
    clock.advance(3 * 86400)
    assert claim(relay) == []
    expired = [job.request_id for job in relay.maintenance.expire()]
    relay.resume("g")

    assert expired == ["asked"]
    assert relay.maintenance.expire() == []
    assert claim(relay) == ["default"]


def test_a_job_past_its_deadline_fails_with_a_callback(relay: Relay, clock: Clock) -> None:
    submit(relay, "late", deadline_at=clock() + 10)
    clock.advance(11)
    [job] = relay.maintenance.expire()
    clock.advance(2)
    [one] = relay.deliveries.claim("w", limit=1, at_once=1)

    assert (job.state.value, job.error_type) == ("failed", "deadline")
    assert b'"errorType":"deadline"' in one.body


def test_a_failed_job_delivers_the_partial_response_of_an_earlier_attempt(relay: Relay, clock: Clock) -> None:
    """It was paid for: also where the deadline passes while the job waits for its next attempt."""
    submit(relay, "late", deadline_at=clock() + 10)
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.checkpoint(claimed, PartialResponse(text="half", usage={"input_tokens": 10, "output_tokens": 1}))
    relay.execution.fail(claimed, a_failure(retry_after=60.0, partial="half", ambiguous=True))
    clock.advance(11)
    relay.maintenance.expire()
    told = json.loads(relay.queries.result(JobRef(request_id="late")) or b"")

    assert (told["errorType"], told["partialResponse"]) == ("deadline", "half")
    assert told["usage"] == {"input_tokens": 10, "output_tokens": 1}
    assert relay.queries.status(JobRef(request_id="late"))["responseLength"] == 4


def test_a_new_run_of_a_held_job_begins_with_nothing(relay: Relay, clock: Clock) -> None:
    submit(relay, "held", on_interrupt=OnInterrupt.HOLD)
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.checkpoint(claimed, PartialResponse(text="of the first run"))
    relay.execution.reap(claimed.job.id, claimed.token, why="killed")
    assert relay.queries.partial(JobRef(request_id="held")) == "of the first run"
    relay.retry(JobRef(request_id="held"))
    relay.cancel(JobRef(request_id="held"))

    assert json.loads(relay.queries.result(JobRef(request_id="held")) or b"")["partialResponse"] == ""


def test_nothing_runs_before_its_time(relay: Relay, clock: Clock) -> None:
    submit(relay, "later", run_at=clock() + 600)

    assert claim(relay) == []
    assert str(waiting(relay, "later")).startswith("due ")
    clock.advance(600)
    assert claim(relay) == ["later"]


def test_a_throttled_family_waits_and_another_does_not(relay: Relay, clock: Clock) -> None:
    submit(relay, "s1")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.fail(claimed, a_failure(ErrorType.RATE_LIMIT, Remedy.THROTTLE, retry_after=30.0))
    submit(relay, "s2")
    submit(relay, "o1", model="claude-opus-5-5")

    assert claim(relay) == ["o1"]
    assert str(waiting(relay, "s2")).startswith("rate_limit until ")
    clock.advance(31)
    assert sorted(claim(relay)) == ["s1", "s2"]


def test_a_worker_claims_no_more_of_a_family_than_it_would_call_now(relay: Relay) -> None:
    submit(relay, "s1", "s2", "s3")
    submit(relay, "o1", "o2", model="claude-opus-5-5")

    assert claim(relay, capacity=FamilyCapacity({"sonnet": 1}, other=2)) == ["s1", "o1", "o2"]
    assert claim(relay, capacity=FamilyCapacity({"sonnet": 0})) == []


def test_a_parked_queue_is_probed_with_one_job_and_opens_by_itself(relay: Relay, clock: Clock) -> None:
    submit(relay, "a", "b", "c")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.fail(claimed, a_failure(ErrorType.PERMISSION, Remedy.PARK))
    assert claim(relay) == []
    assert len(relay.alerts.evaluate()) == 1 and relay.alerts.evaluate() == []
    clock.advance(301)
    [probe] = relay.execution.claim("w", limit=9)
    assert claim(relay) == []
    relay.execution.complete(probe, a_completion())

    assert len(claim(relay)) == 2


def test_a_limit_that_is_raised_before_its_day_is_found_within_the_hour(relay: Relay, clock: Clock) -> None:
    """Anthropic names the end of the month; a limit that is raised earlier is noticed without a resume."""
    submit(relay, "a", "b")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.fail(claimed, a_failure(ErrorType.BUDGET, Remedy.PARK, retry_after=20 * 86_400.0))
    clock.advance(3500)
    assert claim(relay) == []
    clock.advance(200)

    assert len(claim(relay)) == 1


def test_a_full_queue_takes_nothing_more(relay: Relay) -> None:
    relay.submit_many([a_submission() for _ in range(20)])
    with pytest.raises(QueueFull):
        submit(relay, "one-too-many")


def test_a_repeat_of_what_was_accepted_is_known_again_in_a_full_house(store: Store) -> None:
    """A caller that was cut off repeats its request: a full queue does not matter for a known job."""
    full = "has 1 MiB left"
    room: list[str | None] = [None]
    relay = Relay(store, QuietNotifier(), Policy(max_queue=2), disk_problem=lambda: room[0], rng=random.Random(7))
    relay.submit_many([a_submission("a"), a_submission("b")])

    def again() -> list[object]:
        return list(relay.submit_many([a_submission("a"), a_submission("new"), a_submission("b", body_hash="other")]))

    for fault, refusal in ((None, QueueFull), (full, StoreUnavailable)):
        room[0] = fault
        known, new, other = again()
        assert isinstance(known, Accepted) and known.duplicate
        assert isinstance(new, refusal)
        assert isinstance(other, Conflict)
        assert relay.submit(a_submission("b")).duplicate
        with pytest.raises(refusal):
            relay.submit(a_submission("new"))
    relay.close()


def test_only_metadata_is_kept_once_it_is_delivered(relay: Relay, clock: Clock, tmp_path: Path) -> None:
    """Prompt and answer are erased; status and ledger stay; requests for the content get an error that says so."""
    secret = "canary-77aa"
    submit(relay, "r", retain=Retain.METADATA, request={"prompt": secret * 20})
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion(secret * 20))
    clock.advance(2)
    [one] = relay.deliveries.claim("w", limit=1, at_once=1)
    assert secret.encode() in one.body
    relay.deliveries.record_attempt(one, Reply(status=200, excerpt=secret))
    relay.maintenance.scrub()
    ref = JobRef(request_id="r")

    assert relay.queries.status(ref)["status"] == "completed"
    assert relay.queries.job_details(ref)["calls"][0]["usage"] == {"input_tokens": 10, "output_tokens": 5}
    assert not any(secret.encode() in file.read_bytes() for file in tmp_path.glob("relay.db*"))
    with pytest.raises(NotFound, match="erased"):
        relay.queries.result(ref)
    for move in (relay.retry, relay.redeliver):
        with pytest.raises(Conflict, match="erased"):
            move(ref)


def test_failed_and_undelivered_jobs_are_kept_longer(relay: Relay, clock: Clock) -> None:
    """For inspection or redelivery: thirty days, where a delivered answer has one."""
    submit(relay, "arrived", "failed", "undelivered")
    for one in relay.execution.claim("w", limit=3):
        if one.job.request_id == "failed":
            relay.execution.fail(one, a_failure(ErrorType.REFUSED, Remedy.FAIL))
        else:
            relay.execution.complete(one, a_completion())
    clock.advance(2)
    for sent in relay.deliveries.claim("w", limit=3, at_once=3):
        relay.deliveries.record_attempt(sent, Reply(status=410 if sent.request_id == "undelivered" else 200))

    def kept() -> set[str]:
        relay.maintenance.purge()
        return {job["requestId"] for job in relay.queries.jobs(JobFilter()).jobs}

    clock.advance(86_400 - 10)
    assert kept() == {"arrived", "failed", "undelivered"}
    clock.advance(20)
    assert kept() == {"failed", "undelivered"}
    clock.advance(29 * 86_400 - 20)
    assert kept() == {"failed", "undelivered"}
    clock.advance(20)
    assert kept() == set()


def test_a_retry_is_a_run_of_its_own(relay: Relay, clock: Clock) -> None:
    """One outcome, one delivery and one webhook-id a run; the result is the latest, the record holds all."""
    submit(relay, "r")
    ids = []
    for text in ("first", "second"):
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.complete(claimed, a_completion(text))
        clock.advance(2)
        [one] = relay.deliveries.claim("w", limit=1, at_once=1)
        relay.deliveries.record_attempt(one, Reply(status=200))
        ids.append(one.delivery.webhook_id)
        if text == "first":
            relay.retry(JobRef(request_id="r"))
            assert relay.queries.result(JobRef(request_id="r")) is None

    record = relay.queries.job_details(JobRef(request_id="r"))
    assert len(set(ids)) == 2
    assert b"second" in (relay.queries.result(JobRef(request_id="r")) or b"")
    assert (record["run"], len(record["calls"]), len(record["deliveries"])) == (2, 2, 2)


def test_no_delivery_within_a_second_of_the_202(relay: Relay, clock: Clock) -> None:
    submit(relay, "r")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    clock.advance(1.0)
    assert relay.deliveries.claim("w", limit=1, at_once=1) == []
    clock.advance(0.3)
    assert len(relay.deliveries.claim("w", limit=1, at_once=1)) == 1


def test_a_throttled_job_waits_for_the_rate_limit(relay: Relay) -> None:
    """The throttled job and those behind it have the same reason; they do not wait for a time of their own."""
    submit(relay, "met", "behind")
    [met] = relay.execution.claim("w", limit=1)
    relay.execution.fail(met, a_failure(ErrorType.RATE_LIMIT, Remedy.THROTTLE, retry_after=30.0, reason="http_429"))

    assert str(waiting(relay, "met")).startswith("rate_limit until 20")
    assert str(waiting(relay, "behind")).startswith("rate_limit until 20")


@pytest.mark.parametrize(
    ("why", "reason", "word"),
    [
        (ErrorType.BUDGET, "enforced_spend_limit_reached", "spend_limit"),
        (ErrorType.BUDGET, "http_402", "spend_limit"),
        (ErrorType.PERMISSION, "http_401", "key_refused"),
    ],
)
def test_waiting_for_names_the_reason_of_a_parked_queue(relay: Relay, why: ErrorType, reason: str, word: str) -> None:
    """The upstream's own code stays in the job's events."""
    submit(relay, "met", "behind")
    [met] = relay.execution.claim("w", limit=1)
    relay.execution.fail(met, a_failure(why, Remedy.PARK, reason=reason))

    assert str(waiting(relay, "met")).startswith(f"{word} until 20")
    assert str(waiting(relay, "behind")).startswith(f"{word} until 20")
    assert f"({word})" in str(relay.queries.readiness_problems())


def test_a_wait_ends_with_the_run_or_its_time(store: Store) -> None:
    """By default for the end of the run, however it ends; otherwise for what the caller asks."""
    relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(1))
    submit(relay, "a", "b")
    done, failed = relay.execution.claim("w", limit=2)
    ref = JobRef(request_id="a")
    assert relay.queries.wait(ref, timeout=0.0)["status"] == "processing"
    assert relay.queries.wait(ref, timeout=60.0, until=lambda status: True)["status"] == "processing"
    relay.execution.complete(done, a_completion())
    relay.execution.fail(failed, a_failure(ErrorType.REFUSED, Remedy.FAIL))

    def no_sleep(seconds: float) -> None:
        raise AssertionError("it waits for a run that has ended")

    queries = Queries(relay.queries._context, sleep=no_sleep)
    assert queries.wait(ref, timeout=60.0)["status"] == "completed"
    assert queries.wait(JobRef(request_id="b"), timeout=60.0)["status"] == "failed"


def test_of_named_jobs_only_those_that_may_start_are_claimed(relay: Relay, store: Store, clock: Clock) -> None:
    """Those that were just announced, in their order: none that waits for its time, a batch, its group or its key."""
    relay.set_group("full", concurrency=1, rate=None)
    submit(relay, "runs", group="full")
    assert claim(relay) == ["runs"]
    submit(relay, "first", "cancelled", "not named")
    relay.cancel(JobRef(request_id="cancelled"))
    submit(relay, "later", run_at=clock() + 60)
    submit(relay, "batch", mode="batch")
    submit(relay, "full", group="full")
    clock.advance(1)
    submit(relay, "second", group="other")
    ids = [job.id for job in store.read(lambda tx: tx.jobs(JobFilter())) if job.request_id != "not named"]

    assert claim(relay, ids=ids) == ["first", "second"]


def test_each_change_of_a_job_is_a_version_of_it(relay: Relay, clock: Clock) -> None:
    """From its submission on; two that begin with the same one exclude each other."""
    versions = [relay.submit(a_submission("r")).job.version]
    [claimed] = relay.execution.claim("w", limit=1)
    versions += [claimed.job.version, relay.execution.fail(claimed, a_failure(retry_after=60.0)).version]
    versions.append(relay.cancel(JobRef(request_id="r")).version)
    versions.append(relay.retry(JobRef(request_id="r")).version)

    assert versions == [1, 2, 3, 4, 5]
