"""Queries of one job: waiting for it, its details, and what is shown of large and lost requests."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from claude_relay.core.jobs.failure import PartialResponse
from claude_relay.core.policy import DAY
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.services.queries import Queries
from tests.support.builders import Clock, a_completion, a_submission

REF = JobRef(request_id="r")


def finish(relay: Relay) -> None:
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.complete(claimed, a_completion())


def test_a_wait_ends_with_the_run_or_with_its_time(relay: Relay) -> None:
    """A look at every interval, the last one when the time is over; none is begun after the run has ended."""
    times, sleeps = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        times[0] += seconds
        if len(sleeps) == 5:
            finish(relay)

    queries = Queries(relay.queries._context, clock=lambda: times[0], sleep=sleep)
    relay.submit(a_submission("r"))
    assert queries.wait(REF, timeout=0.0)["status"] == "pending" and sleeps == []
    assert queries.wait(REF, timeout=1.0, every=0.375)["status"] == "pending" and sleeps == [0.375, 0.375, 0.25]
    assert queries.wait(REF, timeout=60.0)["status"] == "completed" and sleeps[3:] == [0.1, 0.1]
    assert queries.wait(REF, timeout=60.0)["status"] == "completed" and len(sleeps) == 5

    looks: list[dict[str, Any]] = []
    queries.wait(REF, timeout=60.0, until=lambda status: looks.append(status) or len(looks) == 2)  # type: ignore[func-returns-value]
    assert len(looks) == 2 and sleeps[5:] == [0.1]


@pytest.mark.parametrize(("largest", "shown"), [(None, True), (0, True), (-1, False)])
def test_the_details_of_a_job_leave_out_a_request_that_is_too_large(
    relay: Relay, store: Store, largest: int | None, shown: bool
) -> None:
    """One of just so many bytes is shown; its addresses are shown in any case."""
    relay.submit(a_submission("r", failure_webhook_url="https://hook.example/failed", warnings=("as asked",)))
    size = store.read(lambda tx: tx.request_size(tx.find("r", None)[0].id))
    details = relay.queries.job_details(REF, largest=None if largest is None else size + largest)

    assert (details["request"] != {}) == shown
    assert details["webhookUrl"] == "https://hook.example/x"
    assert details["failureWebhookUrl"] == "https://hook.example/failed"
    assert details["warnings"] == ["as asked"]


def test_the_details_of_a_job_have_each_of_its_parts(relay: Relay, clock: Clock) -> None:
    """What came of its call so far, its batch, and nothing that it does not have."""
    relay.submit(a_submission("r"))
    details = relay.queries.job_details(REF)
    assert (details["partialResponse"], details["batch"], details["calls"]) == (None, None, [])
    assert details["unacked"] is False
    assert relay.queries.partial(REF) == ""

    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.checkpoint(claimed, PartialResponse(text="half"))
    details = relay.queries.job_details(REF)
    assert (details["partialResponse"], len(details["calls"]), relay.queries.partial(REF)) == ("half", 1, "half")

    relay.submit(a_submission("b", mode="batch"))
    clock.advance(15)
    assert relay.batches.plan("w") is not None
    assert relay.queries.job_details(JobRef(request_id="b"))["batch"]["state"] == "planned"


def test_the_details_of_a_job_whose_request_is_lost_are_shown_without_it(relay: Relay, store: Store) -> None:
    """CASES S11: `doctor --deep` names it; its record is still read."""
    relay.submit(a_submission("r"))
    store.write(lambda tx: tx._run("DELETE FROM requests", ()))  # type: ignore[attr-defined]
    for largest in (None, 100):
        details = relay.queries.job_details(REF, largest=largest)
        assert (details["request"], details["webhookUrl"], details["failureWebhookUrl"]) == (None, None, None)
        assert details["warnings"] == []


def test_a_shared_value_is_read_by_every_process(relay: Relay) -> None:
    """None before any has stored it."""
    assert relay.queries.shared_value("k") is None
    relay.maintenance.set_shared("k", {"a": [1]})
    assert relay.queries.shared_value("k") == {"a": [1]}


def test_a_daemon_loads_every_use_case_before_its_first_request(relay: Relay) -> None:
    """Its threads share one of each, and no request waits for an import."""
    assert "execution" not in vars(relay)
    relay.load()
    cached = {name for name, value in vars(Relay).items() if isinstance(value, functools.cached_property)}
    assert len(cached) > 20 and cached <= vars(relay).keys()


def test_a_clock_that_is_a_year_behind_the_newest_job_is_a_fault(relay: Relay, clock: Clock) -> None:
    """The newest of all counts; without a job, a time of this program's life is believed."""
    assert relay.queries.clock_problem() is None
    relay.submit(a_submission("old"))
    clock.advance(366 * DAY)
    assert relay.queries.clock_problem() is None
    relay.submit(a_submission("new"))
    clock.advance(-366 * DAY)
    assert relay.queries.clock_problem() is None
    clock.advance(-1)
    assert "the store's newest job is of 2028" in (relay.queries.clock_problem() or "")
