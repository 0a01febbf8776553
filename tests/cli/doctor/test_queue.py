"""Checks of the queue: what keeps jobs from being done is a failure with its cause and its cure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_relay import wiring
from claude_relay.cli.doctor import queue, store
from claude_relay.config import Settings
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.ports import WorkerHeartbeat
from tests.support.builders import a_failure, a_submission
from tests.support.doctor import faults

NOTHING = {
    "jobs": {"queued": 0, "held": 0},
    "oldestWaitingSeconds": None,
    "paused": [],
    "holds": [],
    "deliveries": {"pending": 0, "sending": 0, "dead": 0},
}


def test_jobs_and_deliveries_without_progress():
    overview = {
        "jobs": {"queued": 3, "held": 1},
        "oldestWaitingSeconds": 7200.0,
        "paused": ["night"],
        "deliveries": {"pending": 0, "sending": 0, "dead": 2},
    }
    fixes = {fault.check: fault.fix for fault in faults(queue.progress(overview))}

    assert set(fixes) == {"queue", "held", "groups", "deliveries"}
    assert fixes["groups"] == "claude-relay resume night"
    assert "redeliver --dead" in fixes["deliveries"]


@pytest.mark.parametrize(
    ("why", "reason", "words", "cure"),
    [
        (ErrorType.PERMISSION, "http_401", "invalid x-api-key", "systemctl reload-or-restart"),
        (ErrorType.BUDGET, "usage_limit", "You have reached your specified API usage limits.", "raise the spend limit"),
        (ErrorType.PERMISSION, "organization_on_hold", "This organization is on hold, see https://x", "appeal"),
    ],
)
def test_a_parked_queue_is_a_failure_in_the_words_of_the_upstream(server, tmp_path, why, reason, words, cure):
    """CASES A2: doctor names the cause as Anthropic does, and the cure rather than `resume` alone."""
    given = Settings(store=f"sqlite:///{tmp_path}/relay.db")
    with wiring.open_relay(given, create=True) as relay:
        relay.submit(a_submission("r-1"))
        relay.maintenance.heartbeat(
            WorkerHeartbeat(id="w", host="h", pid=1, started_at=0.0, seen_at=0.0, slots=1, running=0)
        )
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.fail(claimed, replace(a_failure(why, Remedy.PARK, reason=reason), message=f"refused: {words}"))
        [alert] = relay.alerts.evaluate()

    [fault] = [fault for fault in faults(store.check(given, server)) if fault.check == "queue"]

    assert fault.result == "fail" and words in fault.detail
    assert cure in fault.fix and fault.fix.endswith("claude-relay resume")
    assert words.rstrip(".") in alert.message
    assert alert.command.startswith("claude-relay resume  # once ")


@pytest.mark.parametrize(
    ("hold", "result", "words"),
    [
        ({"scope": "pause", "reason": "paused"}, "fail", "the relay is paused"),
        ({"scope": "drain", "reason": "drained"}, "fail", "no job is accepted"),
        ({"scope": "unreachable", "reason": "unreachable", "detail": "no route"}, "fail", "no route"),
        ({"scope": "batches", "reason": "rate_limit"}, "warn", "no batch is sent"),
        ({"scope": "budget:shop", "reason": "budget"}, "warn", "budget of shop"),
    ],
)
def test_each_hold_of_the_queue_is_a_finding(server, hold, result, words):
    """CASES A2: doctor fails for whatever keeps all jobs from being done."""
    [fault] = faults(queue.check({**NOTHING, "holds": [{"until": None, **hold}]}, server))

    assert fault.result == result and words in fault.detail


def test_a_full_queue_is_a_failure(server):
    """CASES A2: with as many waiting jobs as RELAY_MAX_QUEUE nothing is accepted."""
    [fault] = faults(queue.check({**NOTHING, "jobs": {"queued": 5, "held": 0}}, server, max_queue=5))

    assert fault.result == "fail" and "RELAY_MAX_QUEUE" in fault.detail
