"""Costs: summed in the transaction that ends an attempt, and kept longer than the job."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.jobs.failure import ErrorType, PartialResponse, Remedy
from claude_relay.core.jobs.job import State
from claude_relay.core.keys import Scope
from claude_relay.core.policy import DAY
from claude_relay.errors import InvalidRequest
from claude_relay.ports import JobFilter
from claude_relay.services import JobRef, Relay
from tests.support.builders import Clock, a_completion, a_failure, a_submission


def claim(relay: Relay, *, sent: bool = True) -> Any:
    [claimed] = relay.execution.claim("w", limit=1)
    if sent:
        relay.execution.sending(claimed)
    return claimed


def a_job(relay: Relay, owner: str = "admin", usd: float | None = 0.25, **fields: Any) -> None:
    relay.submit(a_submission(**fields), owner=owner)
    relay.execution.complete(claim(relay), a_completion(cost_usd=usd))


def rows(relay: Relay, by: str, **which: Any) -> dict[str, tuple[int, float | None, int]]:
    report = relay.queries.cost(by=by, which=JobFilter(**which))["rows"]
    return {row[by]: (row["calls"], row["costUsd"], row["unpricedCalls"]) for row in report}


def test_costs_are_grouped_by_key_group_model_day_and_mode(relay: Relay, clock: Clock) -> None:
    a_job(relay, "make", group="a")
    a_job(relay, "n8n", group="b")
    clock.advance(DAY)
    a_job(relay, "make", 0.5, group="b")

    assert rows(relay, "key") == {"make": (2, 0.75, 0), "n8n": (1, 0.25, 0)}
    assert rows(relay, "group") == {"a": (1, 0.25, 0), "b": (2, 0.75, 0)}
    assert list(rows(relay, "day").values()) == [(2, 0.5, 0), (1, 0.5, 0)]
    assert rows(relay, "model") == {"claude-sonnet-5-5": (3, 1.0, 0)}
    assert rows(relay, "mode") == {"live": (3, 1.0, 0)}
    assert rows(relay, "key", since=clock(), owner="make") == {"make": (1, 0.5, 0)}
    with pytest.raises(InvalidRequest, match="day, key, model, group, mode"):
        relay.queries.cost(by="colour")


def test_a_sum_has_no_rounding_errors(relay: Relay) -> None:
    """Adding floats gives 0.30000000000000004."""
    for _ in range(3):
        a_job(relay, usd=0.1)

    assert [relay.queries.cost(by="day")[part]["costUsd"] for part in ("total",)] == [0.3]
    assert rows(relay, "key") == {"admin": (3, 0.3, 0)}


def test_every_sent_attempt_counts_once(relay: Relay, clock: Clock) -> None:
    """A failed attempt with a cost, an interrupted one by its last checkpoint, a released one, and the answer."""
    relay.submit(a_submission("r"))
    failed = a_failure(ErrorType.UPSTREAM, Remedy.RETRY, usage={"input_tokens": 7}, cost_usd=0.125)
    relay.execution.fail(claim(relay), failed)
    clock.advance(100)
    relay.execution.release(claim(relay, sent=False))
    dying = claim(relay)
    relay.execution.checkpoint(dying, PartialResponse(text="half", usage={"input_tokens": 7}, cost_usd=0.25))
    relay.execution.reap(dying.job.id, dying.token, why="the worker died")
    relay.execution.complete(claim(relay), a_completion(cost_usd=0.5))

    assert rows(relay, "day").popitem()[1] == (3, 0.875, 0)
    assert relay.queries.status(JobRef(request_id="r"))["costUsd"] == 0.875


def test_an_unknown_price_is_never_counted_as_zero(relay: Relay) -> None:
    """Free attempts are 0, unknown prices null, and a sum of both counts the unpriced calls."""
    relay.submit(a_submission("r"))
    relay.execution.fail(claim(relay), a_failure(ErrorType.OVERLOADED, Remedy.FAIL))
    assert rows(relay, "key") == {"admin": (1, 0.0, 0)}

    a_job(relay, "odd", None)
    assert rows(relay, "key")["odd"] == (1, None, 1)
    a_job(relay, "odd", 0.5)
    a_job(relay, "odd", None)
    assert rows(relay, "key")["odd"] == (3, 0.5, 2)


def test_sums_survive_the_purge(relay: Relay, clock: Clock) -> None:
    a_job(relay, webhook_url=None)
    clock.advance(2 * DAY)
    assert relay.maintenance.purge() == 1

    assert rows(relay, "model") == {"claude-sonnet-5-5": (1, 0.25, 0)}


def test_the_spend_of_a_month_is_asked_for_later_by_key_group_and_model(relay: Relay, clock: Clock) -> None:
    """CASES A14: days after `until` do not count, whatever else was spent then."""
    first = clock()
    a_job(relay, "make", group="a")
    clock.advance(40 * DAY)
    a_job(relay, "make", 0.5, group="b")

    assert rows(relay, "key", since=first, until=first + 30 * DAY) == {"make": (1, 0.25, 0)}
    assert rows(relay, "key", key="make", group="b") == {"make": (1, 0.5, 0)}
    assert rows(relay, "key", owner="n8n", key="make") == {}
    assert rows(relay, "key", model="claude-opus-5-5") == {}


def test_a_cost_by_host_status_or_error_is_that_of_stored_jobs(relay: Relay, clock: Clock) -> None:
    """CASES A14: the sums know neither, so the ledgers of the stored jobs are read, and the report says so."""
    a_job(relay, webhook_url="https://a.example/x")
    a_job(relay, "make", 0.5, webhook_url="https://b.example/x")
    relay.submit(a_submission(webhook_url="https://b.example/x"))
    relay.execution.fail(claim(relay), a_failure(ErrorType.TIMEOUT, Remedy.FAIL, cost_usd=0.125))

    assert rows(relay, "key", host="b.example") == {"admin": (1, 0.125, 0), "make": (1, 0.5, 0)}
    assert rows(relay, "model", errors=(ErrorType.TIMEOUT,)) == {"claude-sonnet-5-5": (1, 0.125, 0)}
    assert rows(relay, "key", host="a.example", until=clock() - 2 * DAY) == {}
    assert relay.queries.cost(by="day", which=JobFilter(host="b.example"))["basis"] == "jobs"
    assert relay.queries.cost(by="day")["basis"] == "sums"


@pytest.mark.parametrize("kind", [ErrorType.TIMEOUT, ErrorType.OVERLOADED])
def test_a_call_that_broke_before_its_usage_was_reported_is_of_unknown_cost(relay: Relay, kind: ErrorType) -> None:
    """CASES M6: a timeout may have cost something; a refusal did not. Counted in each row and in the total."""
    unknown = int(kind is ErrorType.TIMEOUT)
    a_job(relay, "make", 0.5)
    relay.submit(a_submission(), owner="make")
    relay.execution.fail(claim(relay), a_failure(kind, Remedy.FAIL))

    assert rows(relay, "key") == {"make": (2, 0.5, unknown)}
    assert relay.queries.cost(by="key")["total"]["unpricedCalls"] == unknown


def test_an_interrupted_call_without_usage_is_of_unknown_cost(relay: Relay) -> None:
    """CASES M6."""
    relay.submit(a_submission())
    dying = claim(relay)
    relay.execution.reap(dying.job.id, dying.token, why="the worker died")
    relay.execution.complete(claim(relay), a_completion(cost_usd=0.5))

    assert rows(relay, "key") == {"admin": (2, 0.5, 1)}
    assert relay.queries.cost(by="key")["total"]["unpricedCalls"] == 1


def test_a_key_that_spends_more_today_than_in_the_week_before_is_listed(relay: Relay, clock: Clock) -> None:
    """The seven days before today; a key that is new, or has a budget, is none."""
    relay.keys.add("bounded", frozenset({Scope.SUBMIT}), daily_budget_usd=100.0)
    for owner, days, usd in (
        ("unpriced", 2, None),
        ("before", 8, 1.0),
        ("first", 7, 1.0),
        ("last", 1, 2.0),
        ("more", 3, 6.0),
        ("bounded", 1, 1),
    ):
        clock.advance(-days * DAY)
        a_job(relay, owner, usd)
        clock.advance(days * DAY)
    assert relay.dashboard.runaways() == ()
    for owner in ("unpriced", "before", "first", "last", "more", "bounded", "new"):
        a_job(relay, owner, 6.0)

    listed = {each.key: (each.today_usd, each.week_usd) for each in relay.dashboard.runaways()}
    assert listed == {"first": (6.0, 1.0), "last": (6.0, 2.0)}


def test_a_cost_of_stored_jobs_counts_calls_that_were_sent_and_have_ended(relay: Relay, clock: Clock) -> None:
    """By the day and the model of each call: not one that failed before it was sent, and not one that runs."""
    relay.submit(a_submission("r"))
    relay.execution.fail(claim(relay, sent=False), a_failure(sent=False, retry_after=DAY))
    clock.advance(DAY)
    relay.execution.fail(claim(relay), a_failure(cost_usd=0.5, retry_after=DAY, model="claude-haiku-5"))
    clock.advance(DAY)
    relay.execution.complete(claim(relay), a_completion(cost_usd=0.25))
    relay.submit(a_submission("runs", webhook_url=None))
    claim(relay)
    states = (State.COMPLETED, State.RUNNING)

    assert rows(relay, "key", states=states) == {"admin": (2, 0.75, 0)}
    assert rows(relay, "key", states=states, since=clock()) == {"admin": (1, 0.25, 0)}
    assert rows(relay, "key", states=states, until=clock() - DAY) == {"admin": (1, 0.5, 0)}
    assert rows(relay, "key", states=states, model="claude-sonnet-5-5") == {"admin": (1, 0.25, 0)}
