"""Numbers that the contract and the documents promise, or that are stored: a changed one is a changed promise."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from claude_relay.core import alerts, metrics, retention
from claude_relay.core.collections.intake import hash_of
from claude_relay.core.jobs.failure import Completion, ErrorType, Failure, PartialResponse, Remedy, RequestOutcome
from claude_relay.core.keys import Scope, check_budget, check_weight, new_key
from claude_relay.core.money.spend import SpendSummary
from claude_relay.core.policy import Policy

DAY = 86_400.0


def test_the_defaults_of_the_policy() -> None:
    """`docs/CONTRACT.md` §2, §5 and §7."""
    assert dataclasses.asdict(Policy()) == {
        "model": None,
        "fallback_after": 120.0,
        "call_attempts": 3,
        "interrupted_attempts": 1,
        "call_timeout": 1800.0,
        "backoff_base": 1.0,
        "backoff_max": 60.0,
        "lease": 60.0,
        "batch_size": 50,
        "batch_linger": 15.0,
        "batch_poll": (5.0, 60.0),
        "batch_margin": 600.0,
        "batch_settle": 60.0,
        "deadline": DAY,
        "max_queue": 100_000,
        "webhook_schedule": (5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
        "webhook_lease": 60.0,
        "callback": "full",
        "callback_max": 4 * 1024 * 1024,
        "public_url": None,
        "ack_remind": None,
        "retention": DAY,
        "retention_failed": 30 * DAY,
        "tombstones": 30 * DAY,
        "not_ready_window": 120.0,
        "not_ready_delay": 4.0,
        "delivery_delay": 1.25,
    }


def test_the_bounds_of_the_histograms() -> None:
    """Sums are stored by bound: with another one, old and new sums of a series would not fit together (CASES M6)."""
    waits = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21_600, 86_400)

    assert dict(metrics.BUCKETS) == {
        "start_seconds": waits,
        "call_seconds": (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800),
        "delivery_seconds": waits,
    }
    assert metrics.ACCEPT_BUCKETS == (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
    assert metrics.MAX_NAMES == 100


def test_an_observation_is_counted_in_the_first_bucket_that_holds_it() -> None:
    """A bound belongs to its bucket; what is above all of them is counted too; no sum is negative."""
    assert metrics.observation(metrics.CALL, "m", 0.5) == {
        ("call_seconds", "m", "0.5"): 1,
        ("call_seconds", "m", "sum"): 0.5,
    }
    assert metrics.observation(metrics.CALL, "m", 0.51) == {
        ("call_seconds", "m", "1.0"): 1,
        ("call_seconds", "m", "sum"): 0.51,
    }
    assert metrics.observation(metrics.CALL, "m", 1801) == {
        ("call_seconds", "m", "+Inf"): 1,
        ("call_seconds", "m", "sum"): 1801,
    }
    assert metrics.observation(metrics.CALL, "m", -1)[("call_seconds", "m", "sum")] == 0
    buckets, total = metrics.cumulative(metrics.CALL, {"0.5": 1, "10.0": 2, "+Inf": 4, "sum": 9.5})
    assert [count for _, count in buckets] == [1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 7] and total == 9.5


def test_names_beyond_the_limit_are_one() -> None:
    """The largest are kept, of equal ones the first; one that is called `other` itself is added to the rest."""
    values = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 2.0}

    assert metrics.limit_names(values, 4) == values
    assert metrics.limit_names(values, 2) == {"a": 3.0, "c": 2.0, "other": 3.0}
    assert metrics.limit_names({**values, "other": 5.0}, 2) == {"other": 10.0, "a": 3.0}


def test_the_times_of_alerts() -> None:
    """`docs/reference/alerts.md`."""
    assert (alerts.FAILURE_WAVE, alerts.WORKER_SILENCE, alerts.NOTICE_DAYS, alerts.MULTIPLE) == (3600, 60, 30, 5)
    assert alerts.RESOLVE_AFTER == {"disk_low": 300, "destination_unhealthy": 300}
    assert alerts.REPEAT_AFTER == (60, 300, 1800, 7200)
    assert retention.UPLOAD_MARGIN == 900


def test_the_text_of_a_key_is_made_of_all_its_random_bytes() -> None:
    """The text of a key that was handed out is never read in another way."""
    given: dict[str, Any] = dict(rate=None, daily_budget_usd=None, now=7.0)
    key, text = new_key("make", frozenset({Scope.READ}), entropy=bytes(range(36)), **given)

    assert text == "crk_00010203_BAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiM"
    assert (key.id, key.created_at, key.weight, key.revoked_at) == ("00010203", 7.0, 1.0, None)
    assert new_key("make", frozenset({Scope.READ}), entropy=bytes(range(35)) + b"x", **given)[1] != text


@pytest.mark.parametrize(("weight", "good"), [(0.01, True), (0.0099, False), (100.0, True), (100.1, False)])
def test_the_limits_of_a_weight(weight: float, good: bool) -> None:
    problems = check_weight(weight)

    assert [problem.field for problem in problems] == ([] if good else ["weight"])
    assert all("from 0.01 to 100; other keys have 1" in problem.problem for problem in problems)


@pytest.mark.parametrize(
    ("budget", "good"), [(None, True), (0.01, True), (0.0, False), (-1.0, False), (math.inf, False)]
)
def test_the_limits_of_a_budget(budget: float | None, good: bool) -> None:
    assert [problem.field for problem in check_budget(budget)] == ([] if good else ["budget"])


def test_a_failure_counts_as_sent_and_unambiguous_unless_it_says_otherwise() -> None:
    """Forgotten fields lean to the side on which nothing is paid twice and nothing is marked without reason."""
    failure = Failure(type=ErrorType.UPSTREAM, message="m", remedy=Remedy.RETRY)
    done = Completion(text="t", model="m", stop_reason="end_turn", usage={})
    step = RequestOutcome(outcome="paused", detail="", usage={})
    partial = PartialResponse()
    spent = SpendSummary(name="a")

    assert (failure.sent, failure.ambiguous, failure.retry_after, failure.partial) == (True, False, None, "")
    assert (failure.usage, failure.cost_usd, failure.checks) == (None, None, None)
    assert (done.cost_usd, done.last_usage, done.checks, done.blocks) == (None, None, None, None)
    assert (step.cost_usd, step.text_length) == (None, 0)
    assert (partial.text, partial.usage, partial.cost_usd) == ("", None, None)
    assert (spent.calls, spent.input_tokens, spent.output_tokens, spent.unpriced, spent.usd) == (0, 0, 0, 0, None)
    assert (spent.cache_read_tokens, spent.cache_write_tokens) == (0, 0)


def test_the_hash_of_a_collection_covers_every_row_in_its_order() -> None:
    """With it a repeated request is told from another one under the same id, which is a 409."""
    head, rows = {"template": "a", "group": ""}, [{"x": 1, "y": 2}, {"x": 3}]
    base = hash_of(head, rows)

    assert hash_of({"template": "a"}, [{"y": 2, "x": 1}, {"x": 3}]) == base
    for other in ([*rows[::-1]], rows[:1], [*rows, {}], [{"x": 1, "y": 2}, {"x": 4}], [{"x": 1}, {"y": 2, "x": 3}]):
        assert hash_of(head, other) != base
    assert hash_of({"template": "b"}, rows) != base
