"""The overview: each of its figures, for a relay in which everything occurs at once."""

from __future__ import annotations

from typing import Any

from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.wire import timestamp
from claude_relay.ports import WorkerHeartbeat
from claude_relay.services import JobRef, Relay
from tests.support.builders import Clock, a_completion, a_failure, a_submission


def heartbeat(relay: Relay, name: str, pid: int) -> None:
    """A worker that believes to have nine running calls."""
    relay.maintenance.heartbeat(
        WorkerHeartbeat(id=name, host="host", pid=pid, started_at=0.0, seen_at=0.0, slots=4, running=9)
    )


def claim(relay: Relay) -> Any:
    [claimed] = relay.execution.claim("busy", limit=1)
    relay.execution.sending(claimed)
    return claimed


def test_an_empty_relay_has_zeros_and_no_oldest_job(relay: Relay) -> None:
    """CASES M6."""
    body = relay.queries.overview()

    assert set(body["jobs"].values()) == set(body["deliveries"].values()) == set(body["batches"].values()) == {0}
    assert body["oldestWaitingSeconds"] is None and body["drain"] is None and body["unacked"] == 0
    assert all(body[name] == [] for name in ("paused", "groups", "holds", "workers", "destinations"))


def test_the_oldest_wait_is_that_of_the_job_that_is_due_for_longest(relay: Relay, clock: Clock) -> None:
    """CASES M6: in seconds since it was due; jobs that are not due yet do not count, and a clock set back gives 0."""
    relay.submit(a_submission("later"))
    relay.execution.fail(claim(relay), a_failure(retry_after=3600.0))
    assert relay.queries.overview()["oldestWaitingSeconds"] is None
    relay.submit(a_submission("first"))
    clock.advance(60)
    relay.submit(a_submission("second", mode="batch"))
    clock.advance(30.25)
    assert relay.queries.overview()["oldestWaitingSeconds"] == 90.25

    claim(relay)
    assert relay.queries.overview()["oldestWaitingSeconds"] == 30.25


def test_each_figure_of_the_overview(relay: Relay, clock: Clock) -> None:
    """CASES M6: counted from the jobs, leases and holds, not from what a worker reports."""
    began = clock()
    heartbeat(relay, "dead", 1)
    clock.advance(60)
    heartbeat(relay, "busy", 2)
    relay.submit(a_submission("done"))
    relay.execution.complete(claim(relay), a_completion())
    relay.submit(a_submission("broken", webhook_url=None))
    relay.execution.fail(claim(relay), a_failure(ErrorType.INVALID_REQUEST, Remedy.FAIL))
    for name in ("calling", "calling too"):
        relay.submit(a_submission(name, group="a"))
        claim(relay)
    relay.submit(a_submission("gone", webhook_url=None))
    relay.cancel(JobRef(request_id="gone"))
    relay.submit(a_submission("in a batch", mode="batch"))
    clock.advance(15)
    assert relay.batches.plan("busy") is not None
    relay.submit_many([a_submission(group="b") for _ in range(3)])
    relay.set_group("b", concurrency=2, rate=30.0)
    relay.pause("b")
    relay.pause()
    clock.advance(10)
    body = relay.queries.overview()

    assert body.pop("timestamp") == timestamp(clock())
    assert body.pop("jobs") == {
        "queued": 3, "running": 2, "batched": 1, "held": 0, "completed": 1, "failed": 1, "cancelled": 1,
    }  # fmt: skip
    assert body.pop("oldestWaitingSeconds") == 10.0
    assert body.pop("paused") == ["b"]
    assert body.pop("groups") == [
        {"group": "a", "running": 2, "concurrency": None, "rate": None, "paused": False},
        {"group": "b", "running": 0, "concurrency": 2, "rate": 30.0, "paused": True},
    ]
    [hold] = body.pop("holds")
    assert (hold["scope"], hold["until"]) == ("pause", None)
    worker = {"host": "host", "slots": 4}
    assert sorted(body.pop("workers"), key=lambda row: str(row["id"])) == [
        {**worker, "id": "busy", "pid": 2, "running": 2, "seenAt": timestamp(began + 60), "alive": True},
        {**worker, "id": "dead", "pid": 1, "running": 0, "seenAt": timestamp(began), "alive": False},
    ]
    assert body.pop("deliveries") == {"pending": 1, "sending": 0, "delivered": 0, "dead": 0}
    assert body.pop("batches") == {"planned": 1, "creating": 0, "created": 0, "ended": 0}
    assert body == {"drain": None, "unacked": 0, "destinations": []}


def test_the_figures_of_one_group(relay: Relay) -> None:
    """CASES M6: its running jobs, not those of others; a group without limits has none."""
    for name in ("mail", "mail", "other"):
        relay.submit(a_submission(group=name))
    for _ in range(3):
        claim(relay)
    relay.set_group("mail", concurrency=3, rate=30.0)
    relay.pause("mail")

    assert relay.queries.group("mail") == {
        "group": "mail", "concurrency": 3, "rate": 30.0, "paused": True, "running": 2,
    }  # fmt: skip
    assert relay.queries.group("new") == {
        "group": "new", "concurrency": None, "rate": None, "paused": False, "running": 0,
    }  # fmt: skip


def test_the_summary_and_the_readiness_of_a_queue_that_stands_still(relay: Relay, clock: Clock) -> None:
    """CASES M6: a pause and a park are named, and so is a worker without a heartbeat for a minute."""

    def problems() -> list[str]:
        return [f"{problem.field} {problem.problem}" for problem in relay.queries.readiness_problems()]

    heartbeat(relay, "busy", 2)
    assert (relay.queries.queue_summary(), problems()) == ("0 waiting", [])

    relay.submit_many([a_submission(), a_submission()])
    relay.execution.fail(claim(relay), a_failure(ErrorType.PERMISSION, Remedy.PARK))
    relay.pause()
    stopped = relay.queries.queue_summary()
    assert stopped.startswith("2 waiting, paused (") and ", parked (" in stopped
    assert [problem.partition(" (")[0] for problem in problems()] == [
        "queue is paused: claude-relay resume",
        "queue is parked",
    ]
    relay.drain()
    assert relay.queries.queue_summary().startswith("2 waiting, drained: no new jobs, parked (")
    assert [problem.partition(" (")[0] for problem in problems()] == [
        "queue is drained, and takes no new jobs: claude-relay resume",
        "queue is parked",
    ]
    clock.advance(60)
    assert problems()[0] == "worker has not been seen lately: start claude-relay worker"
