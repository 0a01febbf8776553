"""The verbs, each on the store of this machine and over HTTP."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest

from claude_relay.cli.render import waiting
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.deliveries.transitions import DeliveryChange
from claude_relay.core.jobs.events import Event, EventName
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.keys import Scope
from claude_relay.ports import WorkerHeartbeat
from claude_relay.services import JobRef
from tests.support.builders import a_completion, a_failure, a_submission

pytestmark = pytest.mark.usefixtures("where")


def finish(relay, request_id, end=None, began=False, **fields):
    relay.submit(a_submission(request_id, **fields))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.fail(claimed, end) if end else relay.execution.complete(
        claimed, a_completion(first_byte_at=time.time() if began else None)
    )


def deliver(relay, reply):
    claimed = relay.deliveries.claim("w", limit=10, at_once=10)
    for delivery in claimed:
        relay.deliveries.record_attempt(delivery, reply)
    return len(claimed)


def make_due(relay):
    """Make all waiting deliveries due now, as they would be a second later."""

    def set_due(tx):
        waiting = [
            delivery
            for due in tx.due_destinations()
            for delivery in tx.waiting_deliveries(due.destination, opened_before=tx.now, limit=100)
        ]
        for delivery in waiting:
            due = dataclasses.replace(delivery, due_at=0.0, version=delivery.version + 1)
            name = EventName.DELIVERY_DEFERRED
            event = Event(job_id=due.job_id, subject=due.id, version=due.version, at=0.0, name=name)
            tx.save_delivery(DeliveryChange(delivery=due, previous=delivery, expects=delivery.version, event=event))

    relay._store.write(set_due)


def test_submit_prints_only_the_id(run, relay):
    """Data on stdout, and nothing else."""
    code, out, _ = run("submit", "Hei", "der", "--id", "r-1", "--meta", "a=b", "-o", "maxTokens", "7", "--group", "g")

    assert (code, out) == (0, "r-1\n")
    record = relay.queries.job_details(JobRef(request_id="r-1"))
    assert record["request"]["prompt"] == "Hei der"
    assert (record["metadata"], record["group"]) == ({"a": "b"}, "g")
    assert record["request"]["options"]["maxTokens"] == 7


def test_submit_reports_every_problem(run):
    code, out, err = run("submit", "Hei", "--id", "../x", "--group", "a b")

    assert (code, out) == (65, "")
    assert "requestId" in err and "group" in err


def test_a_quiet_status_is_only_the_exit_code_of_the_job(run, relay):
    finish(relay, "done", webhook_url=None)
    finish(relay, "bad", a_failure(remedy=Remedy.FAIL), webhook_url=None)
    relay.submit(a_submission("new"))

    assert [run("status", "-q", name) for name in ("done", "bad", "new")] == [(0, "", ""), (5, "", ""), (75, "", "")]
    assert run("status", "-q", "done", "new", "bad")[0] == 5
    assert run("status", "new")[0] == 0


def test_a_group_with_an_invalid_name_is_not_paused(run):
    code, _, err = run("pause", "a b")

    assert code in (3, 65) and "group" in err


def test_a_conflict_is_9(run):
    run("submit", "Hei", "--id", "r-1")

    assert run("submit", "Hallo", "--id", "r-1")[0] == 9


def test_status_result_and_wait_of_a_finished_job(run, relay):
    finish(relay, "r-1")

    assert "completed" in run("status", "r-1")[1]
    assert run("result", "r-1")[:2] == (0, "Svar\n")
    assert json.loads(run("result", "r-1", "--json")[1])["response"] == "Svar"
    assert run("wait", "r-1", "--timeout", "1s")[:2] == (0, "r-1\tcompleted\tpending\n")
    assert run("wait", "r-1", "--for", "delivered", "--timeout", "1s")[0] == 124
    assert json.loads(run("status", "r-1", "--json")[1])["status"] == "completed"


def test_a_failed_job_is_5_and_an_unfinished_one_75(run, relay):
    finish(relay, "bad", a_failure(remedy=Remedy.FAIL))
    relay.submit(a_submission("new"))

    assert run("status", "bad", "-q")[:2] == (5, "")
    assert run("result", "bad")[0] == 5
    assert run("result", "new")[0] == 75
    assert run("wait", "new", "--timeout", "0s")[0] == 124


@pytest.mark.parametrize("verb", ["status", "result", "wait", "why", "tail", "cancel", "redeliver"])
def test_an_unknown_job_is_3(run, verb):
    code, out, err = run(verb, "nobody")

    assert (code, out) == (3, "")
    assert "nobody" in err


def test_lists_are_plain_lines_in_a_pipe(run, relay):
    """Tab-separated without a head, with complete ids; JSON as one object per line."""
    finish(relay, "done")
    for number in range(3):
        relay.submit(a_submission(f"a-long-id-that-must-stay-whole-in-every-case-{number}"))
    code, out, _ = run("list")

    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert all(len(line) == 7 for line in lines)
    assert lines[0][0].endswith("in-every-case-2")
    assert [
        json.loads(line)["requestId"] for line in run("list", "--json", "--status", "completed")[1].splitlines()
    ] == ["done"]
    assert len(run("list", "--limit", "2")[1].splitlines()) == 2
    assert run("list", "--status", "happy")[0] == 65
    assert run("search", "whole-in-every-case-1")[1].count("\n") == 1


def test_cancel_and_retry(run, relay):
    relay.submit(a_submission("r-1"))

    assert run("cancel", "r-1")[:2] == (0, "r-1\tfailed\tpending\n")
    assert run("cancel", "r-1")[0] == 9
    assert run("retry", "r-1")[0] == 2  # no terminal for a confirmation, and no --yes
    assert run("retry", "r-1", "--yes")[:2] == (0, "r-1\tpending\tnone\n")
    assert run("retry", "--failed", "--yes")[0] == 9


@pytest.mark.parametrize("where", ["remote"], indirect=True)
def test_a_submit_only_key_cancels_and_is_refused_the_rest(where, run, relay, monkeypatch):
    """CASES S2: over a real socket; cancel prints the id and a message, what reads ends with 4."""
    _, key = relay.keys.add("make", frozenset({Scope.SUBMIT}))
    monkeypatch.setenv("RELAY_API_KEY", key)
    assert run("submit", "Hei", "--id", "r-1")[:2] == (0, "r-1\n")

    assert run("cancel", "r-1")[:2] == (0, "r-1\tCancellation accepted\n")
    assert run("cancel", "r-1")[0] == 9
    reading = (
        ("status", "r-1"),
        ("result", "r-1"),
        ("list",),
        ("why", "r-1"),
        ("retry", "r-1", "--yes"),
        ("redeliver", "r-1", "--to", "https://elsewhere.example/in"),
        ("submit", "Hei", "--continue", "r-1"),
    )
    assert {verb: run(*verb)[0] for verb in reading} == dict.fromkeys(reading, 4)


def test_redeliver_needs_a_job_that_has_ended_and_a_webhook(run, relay):
    finish(relay, "r-1", webhook_url=None)

    assert run("redeliver", "r-1")[0] == 9
    assert run("redeliver", "r-1", "--to", "https://a.example/x")[:2] == (0, "r-1\tcompleted\tpending\n")
    assert run("redeliver", "--dead")[0] == 9


def test_pause_and_resume(run, relay):
    relay.submit(a_submission("r-1", group="g"))
    run("pause", "g")
    assert json.loads(run("status", "r-1", "--json")[1])["waitingFor"] == "group paused"
    run("resume", "g")
    run("pause")
    assert json.loads(run("status", "r-1", "--json")[1])["waitingFor"] == "paused"
    assert run("resume")[0] == 0
    assert json.loads(run("status", "r-1", "--json")[1])["waitingFor"] is None


def test_status_without_an_id_is_an_overview(run, relay):
    relay.submit(a_submission())
    code, out, _ = run("status")

    assert code == 0
    assert dict(line.split("\t")[:2] for line in out.splitlines())["waiting"] == "1"
    assert json.loads(run("status", "--json")[1])["jobs"]["queued"] == 1


def test_tail_shows_the_events(run, relay):
    finish(relay, "r-1")
    _, out, _ = run("tail", "-n", "2")

    assert [line.split("\t")[3] for line in out.splitlines()] == ["claimed", "completed"]
    assert json.loads(run("tail", "--json")[1].splitlines()[0])["event"] == "submitted"
    assert run("tail", "r-1")[1] == "Svar\n"


def test_tail_since_shows_all_events_since_then_up_to_the_limit(run, relay):
    for number in range(12):
        finish(relay, f"r-{number}")

    assert len(run("tail")[1].splitlines()) == 20
    assert len(run("tail", "--since", "1h")[1].splitlines()) == 36
    assert len(run("tail", "--since", "2026-11")[1].splitlines()) == 36
    assert run("tail", "--since", "2999-01-01")[:2] == (0, "")
    assert run("tail", "--since", "x")[0] == 2
    assert len(run("tail", "--since", "1h", "-n", "2")[1].splitlines()) == 2
    assert run("tail", "-n", "0")[1] == ""


def test_why_shows_the_timeline_and_the_next_command(run, relay):
    finish(relay, "bad", a_failure(remedy=Remedy.FAIL), webhook_url=None)
    finish(relay, "good", webhook_url=None, began=True)
    relay.submit(a_submission("new"))

    assert "claude-relay retry bad" in run("why", "bad")[1]
    assert "accepted and stored" in run("why", "new")[1]
    assert "Claude began to answer" not in run("why", "bad")[1]
    history = json.loads(run("why", "bad", "--json")[1])
    assert history["timeline"][0]["text"] == "accepted and stored"

    texts = [line.partition("  ")[2] for line in run("why", "good")[1].splitlines()]
    assert texts[1:4] == ["a worker took it (attempt 1)", "Claude began to answer", "Claude answered (5 tokens)"]


def test_dead_deliveries_are_listed_by_host(run, relay):
    finish(relay, "r-1")
    make_due(relay)
    assert deliver(relay, Reply(status=410)) == 1

    assert run("list", "--dead", "--host", "hook.example")[1].split("\t")[0] == "r-1"
    assert run("list", "--dead", "--host", "other.example")[1] == ""
    assert "claude-relay redeliver r-1" in run("why", "r-1")[1]
    assert run("wait", "r-1", "--for", "delivered")[0] == 6
    assert run("redeliver", "--dead", "--host", "hook.example")[:2] == (0, "r-1\tcompleted\tpending\n")


def test_several_jobs_are_redelivered_also_after_an_error(run, relay):
    """By host or by id, also to another URL; the exit code is the worst one."""
    for name in ("r-1", "r-2", "r-3"):
        finish(relay, name)
    make_due(relay)
    assert deliver(relay, Reply(status=403)) == 3
    assert len(run("list", "--dead", "--host", "hook.example")[1].splitlines()) == 3

    code, out, err = run("redeliver", "r-1", "nobody", "r-2", "--to", "https://other.example/x")
    assert (code, out) == (3, "r-1\tcompleted\tpending\nr-2\tcompleted\tpending\n")
    assert err.startswith("nobody: There is no job nobody")
    assert run("list", "--dead")[1].split("\t")[0] == "r-3"
    assert [item.delivery.url for item in relay.deliveries.claim("w", limit=10)] == ["https://other.example/x"] * 2

    assert run("redeliver", "--dead", "--host", "other.example")[0] == 9
    assert run("redeliver", "r-3", "r-3", "--to", "http://127.0.0.1/x")[0] == 65
    assert run("redeliver", "r-3", "--host", "hook.example")[0] == 2
    assert run("redeliver", "--dead")[:2] == (0, "r-3\tcompleted\tpending\n")


def test_bulk_from_json_lines(run, tmp_path):
    file = tmp_path / "many.jsonl"
    file.write_text('{"prompt": "a", "requestId": "r-1"}\n{"prompt": ""}\n{"prompt": "b", "requestId": "r-3"}\n')
    code, out, err = run("submit", "--jsonl", str(file))

    assert (code, out) == (65, "r-1\nr-3\n")
    assert "line 2" in err


def test_the_overview_has_groups_and_the_origin_of_the_data(run, relay, where, store):
    relay.submit(a_submission("r-1", group="night"))
    run("pause", "night")
    lines = [line.split("\t") for line in run("status")[1].splitlines()]

    [head] = [line for line in lines if line[0] == "claude-relay"]
    [group] = [line for line in lines if line[0] == "group"]
    assert (str(store) in head[2]) == (where == "local")
    assert group[1] == "night" and group[2].endswith("paused: claude-relay resume night")
    assert any(line[0] == "disk" for line in lines) == (where == "local")


def failing(relay, request_id, host, kind=ErrorType.TIMEOUT):
    failure = a_failure(kind, Remedy.FAIL)
    finish(relay, request_id, failure, webhook_url=f"https://{host}/in", group=host.partition(".")[0])


def test_every_verb_that_selects_takes_every_filter(run):
    """CASES A14: one set of filters for list, search, retry, redeliver, cancel and cost."""
    filters = ("--host", "a.example", "--group", "g", "--key", "make", "--model", "m", "--since", "2026-11")
    filters += ("--until", "2026-11-30", "--status", "failed", "--error", "timeout")

    for verb in (("list",), ("search", "x"), ("cost",)):
        assert run(*verb, *filters)[:2] == (0, ""), verb
    for verb in ("retry", "redeliver", "cancel"):
        assert run(verb, *filters, *(() if verb == "redeliver" else ("--yes",)))[0] == 9, verb
        assert run(verb, "r-1", *filters)[0] == 2, verb
        assert "--error" in run(verb)[2], verb


def test_failures_of_one_host_are_retried_and_no_others(run, relay):
    """CASES A14: by host, error and time; without --status the failed jobs."""
    failing(relay, "a-1", "a.example")
    failing(relay, "a-2", "a.example", ErrorType.REFUSED)
    failing(relay, "b-1", "b.example")
    finish(relay, "a-3", webhook_url="https://a.example/in")
    today = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86_400))

    assert run("list", "--error", "refused")[1].split("\t")[0] == "a-2"
    assert run("retry", "--host", "a.example", "--error", "timeout", "--since", today)[0] == 2
    assert run("retry", "--host", "a.example", "--error", "timeout", "--since", today, "--yes")[1] == (
        "a-1\tpending\tnone\n"
    )
    assert run("retry", "--until", "2026-01-01", "--yes")[0] == 9
    assert run("cancel", "--key", "admin", "--yes")[1].split("\t")[:2] == ["a-1", "failed"]


def test_dead_deliveries_are_sent_again_by_time_and_group(run, relay):
    """CASES A14: without --status the dead ones only; with it also those that were delivered."""
    for host in ("a.example", "b.example"):
        finish(relay, host, webhook_url=f"https://{host}/in", group=host[0])
    make_due(relay)
    [first, second] = relay.deliveries.claim("w", limit=10, at_once=10)
    relay.deliveries.record_attempt(first, Reply(status=403))
    relay.deliveries.record_attempt(second, Reply(status=200))

    assert run("redeliver", "--since", "1h", "--until", "2h")[0] == 9
    assert [len(run("redeliver", "--since", "1h")[1].splitlines()) for _ in range(2)] == [1, 0]
    assert run("redeliver", "--status", "completed", "--group", "b", "--since", "1h")[0] == 0


def test_cost_as_csv(run, relay):
    finish(relay, "r-1")
    code, out, _ = run("cost", "--by", "key", "--csv")
    names = "key,calls,inputTokens,outputTokens,cacheReadTokens,cacheWriteTokens,unpricedCalls,costUsd"

    assert code == 0
    assert out.splitlines()[0] == names
    assert out.splitlines()[1].startswith("admin,1,")
    month = time.strftime("%Y-%m", time.gmtime())
    assert run("cost", "--by", "key", "--since", month, "--until", month, "--csv")[1] == out
    assert run("cost", "--until", "2026-01", "--csv")[1].count("\n") == 1
    assert "not included" in run("cost", "--host", "hook.example")[2]


def test_drain_waits_until_the_relay_is_idle(run, relay, where):
    """CASES A15: said with the time; status, readiness and submit say it too; resume ends it."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    code, _, err = run("drain", "--timeout", "0s")
    assert code == 124 and "1 calls run" in err and "no worker runs" in err
    assert run("submit", "Hei")[0] == 75
    assert "not idle yet" in run("status")[1]

    relay.execution.release(claimed)
    code, out, _ = run("drain", "--timeout", "20s")
    assert code == 0
    assert out.startswith("idle at 2") and out.endswith("1 jobs wait\n")
    drained = json.loads(run("drain", "--json")[1])
    assert drained["idle"] and drained["at"].endswith("Z")
    assert run("resume")[0] == 0
    assert run("submit", "Hei")[0] == 0


def test_a_job_that_does_not_begin_is_explained(run, monkeypatch):
    """CASES A12: `submit --wait` and `wait` say on stderr that no worker runs."""
    monkeypatch.setattr(waiting, "FIRST", 0.0)
    code, out, err = run("submit", "Hei", "--id", "r-1", "--wait", "--timeout", "1s")
    assert (code, out) == (124, "")
    assert err.count("r-1 still waits: worker has not been seen lately: start claude-relay worker") == 1
    assert "has not been seen" in run("wait", "r-1", "--timeout", "0s")[2]


def test_a_refusal_is_no_answer_and_slots_are_counted_by_leases(run, relay):
    """CASES A19: a 401 is not shown as the beginning of an answer; `running` and the busy slots agree."""
    refused = a_failure(ErrorType.PERMISSION, Remedy.FAIL, first_byte_at=time.time(), sent=True)
    finish(relay, "bad", refused, webhook_url=None)
    assert json.loads(run("why", "bad", "--json")[1])["timeline"][-1]["text"].startswith("failed")
    assert "began to answer" not in run("why", "bad")[1]

    for name in ("r-1", "r-2"):
        relay.submit(a_submission(name))
    relay.execution.claim("w", limit=1)
    relay.execution.claim("dead", limit=1)
    now = time.time()
    report = WorkerHeartbeat(id="w", host="h", pid=1, started_at=now, seen_at=now, slots=64, running=0)
    relay.maintenance.heartbeat(report)
    lines = {line.split("\t")[0]: line.split("\t")[1:] for line in run("status")[1].splitlines()}
    assert lines["worker"] == ["w", "1 of 64 slots busy"]
    assert lines["running"][0] == "2" and lines["running"][1].startswith("1 of them")
