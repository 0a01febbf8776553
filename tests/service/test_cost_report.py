"""Costs: summed in the transaction that ends an attempt, and kept longer than the job."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import apsw
import pytest

from claude_relay.core.jobs.failure import ErrorType, PartialResponse, Remedy
from claude_relay.core.policy import DAY, Policy
from claude_relay.errors import InvalidRequest
from claude_relay.services import JobRef, Relay
from claude_relay.storage import migrate
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission


def claim(relay: Relay, *, sent: bool = True) -> Any:
    [claimed] = relay.execution.claim("w", limit=1)
    if sent:
        relay.execution.sending(claimed)
    return claimed


def a_job(relay: Relay, owner: str = "admin", usd: float | None = 0.25, **fields: Any) -> None:
    relay.submit(a_submission(**fields), owner=owner)
    relay.execution.complete(claim(relay), a_completion(cost_usd=usd))


def rows(relay: Relay, by: str, **which: Any) -> dict[str, tuple[int, float | None, int]]:
    report = relay.queries.cost(by=by, **which)["rows"]
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


def test_the_migration_sums_up_the_ledger(tmp_path: Path) -> None:
    """The ledger is summed; of purged jobs each key's daily sum is all that exists, and it is kept."""
    path = tmp_path / "relay.db"
    [costs] = [step for step in migrate.steps("sqlite") if step.name == "costs"]
    old = apsw.Connection(str(path))
    for step in migrate.steps("sqlite"):
        if step.number < costs.number:
            old.execute(step.sql)
    job = dict(
        id="j", owner="make", request_id="r", body_hash="", state="held", version=1, created_at=0, updated_at=0,
        due_at=0, priority=0, rank=0, grp="a", model="m", family="m", mode="live", on_interrupt="retry", retain="full",
        deadline_asked=0, has_webhook=0, run=1, run_started_at=0, calls=2, attempt=1, failures=0, interruptions=0,
        unsent=0, ambiguous=0, sent=0, prompt_length=0, response_length=0,
    )  # fmt: skip
    marks = ", ".join("?" * len(job))
    old.execute(f"INSERT INTO jobs ({', '.join(job)}) VALUES ({marks})", tuple(job.values()))
    columns = "job_id, number, run, started_at, ended_at, worker, model, sent, outcome, usage, cost_usd, text_length"
    for number, (ended, sent, outcome, usage, usd) in enumerate(
        [
            (86_400.0, 1, "completed", '{"input_tokens": 5, "output_tokens": 2}', 0.5),
            (86_401.0, 1, "interrupted", None, None),
            (86_402.0, 0, "released", None, None),
            (None, 1, None, None, None),
        ]
    ):
        values = ("j", number, 1, 0.0, ended, "w", "m", sent, outcome, usage, usd, 0)
        old.execute(f"INSERT INTO calls ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    old.execute("INSERT INTO spending VALUES ('make', '1970-01-02', 0.75), ('gone', '1970-01-01', 3)")
    old.execute("INSERT INTO meta VALUES ('identity', 'x')")
    old.pragma("user_version", costs.number - 1)
    old.close()
    store = SqliteStore(path)
    relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(1))

    assert rows(relay, "model") == {"m": (2, 0.5, 1), "purged": (0, 3.25, 0)}
    assert rows(relay, "day") == {"1970-01-01": (0, 3.0, 0), "1970-01-02": (2, 0.75, 1)}
    store.close()
