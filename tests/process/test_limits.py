"""Spending limits through real processes: maxCostUsd of a job, and the daily budget of a key."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import END, FakeClaude, Wait, answer, bill, head, started, stopped, written
from tests.support.needs import needs
from tests.support.receiver import Receiver
from tests.support.rig import KEY, Rig

pytestmark = pytest.mark.process


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_a_job_is_stopped_at_its_limit_with_its_partial_answer(tmp_path: Path, hook: Receiver) -> None:
    """$0.01 buys a thousand tokens of Sonnet: the stream is ended there, long before its end, and the job is final."""
    words = "and so it goes on. " * 500  # some 2,700 tokens
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:
        upstream.then(head(), started(), *written(words)[:-1], Wait(threading.Event()))
        rig.submit({"prompt": "x", "requestId": "r-1", "maxCostUsd": 0.01, "webhookUrl": hook.url("/a")})
        [delivered] = hook.wait_for(1, timeout=30)
        got = delivered.json

        assert (got["status"], got["errorType"]) == ("failed", "budget")
        assert "maxCostUsd (0.01)" in got["error"]
        assert words.startswith(got["partialResponse"]) and 2_000 < len(got["partialResponse"]) < 5_000
        assert 0.01 < got["costUsd"] < 0.0105
        assert got["usage"]["output_tokens"] == got["usage"]["estimated_output_tokens"]
        eventually(lambda: upstream.books[0].outcome == "left")
        assert len(upstream.books) == 1
        assert rig.get("/api/cost")["total"]["costUsd"] == got["costUsd"]


def test_earlier_attempts_of_a_run_count_towards_its_limit_and_a_retry_starts_from_zero(tmp_path: Path) -> None:
    """A stream that broke after $0.008 leaves $0.002 of $0.01 for the next attempt; a retry has its own limit."""
    half = written("and so it goes on. " * 150)[:-1]  # 815 tokens
    whole = (head(), started(), *written("and so it goes on. " * 60), *stopped(output_tokens=330))
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url, RELAY_BACKOFF_MAX="1s").start() as rig:
        upstream.then(head(), started(), *half, END)
        upstream.then(*whole)
        upstream.then(*whole)
        rig.submit({"prompt": "x", "requestId": "r-1", "maxCostUsd": 0.01})
        first = rig.finished("r-1")

        assert (first["errorType"], first["attempts"], len(upstream.books)) == ("budget", 2, 2)
        assert "with the cost of earlier attempts" in first["error"]
        assert rig.post("/api/jobs/r-1/retry").status_code == 202
        assert (rig.finished("r-1")["status"], len(upstream.books)) == ("completed", 3)


def test_a_limit_that_cannot_be_kept_is_refused_and_an_estimate_says_so_before(tmp_path: Path) -> None:
    """With the numbers, and nothing is stored or sent; by curl, as a script does it."""
    body = json.dumps({"prompt": "Some words that cost something. " * 2000, "maxCostUsd": 0.001})
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:

        def curl(path: str) -> dict:
            command = [
                needs("curl"),
                "-sS",
                f"{rig.url}{path}",
                "-H",
                f"X-API-Key: {KEY}",
                "-H",
                "Content-Type: application/json",
            ]
            done = subprocess.run([*command, "-d", "@-"], input=body, capture_output=True, text=True, timeout=60)
            return json.loads(done.stdout)

        estimate, refused = curl("/api/estimate"), curl("/api/claude")

        assert estimate["basis"] == "estimate" and estimate["model"] == "claude-sonnet-5-5"
        assert estimate["inputTokensRange"]["low"] < estimate["inputTokens"] < estimate["inputTokensRange"]["high"]
        assert 0.001 < estimate["costUsd"]["low"] < estimate["costUsd"]["high"]
        assert estimate["prices"]["input"] == 2.0 and estimate["prices"]["dated"] == "2026-11-22"
        assert "it would be refused" in estimate["warnings"][-1]
        assert (refused["status"], refused["problems"][0]["field"]) == (400, "maxCostUsd")
        assert "at least 0.02" in refused["error"]
        assert (rig.get("/api/jobs")["jobs"], upstream.books) == ([], [])

        done = rig.command("submit", "What is 2+2?", "--dry-run", "-u")
        assert json.loads(done.stdout) == {"prompt": "What is 2+2?"}
        assert "cost $0.0000" in done.stderr
        assert upstream.books == []


def test_a_conversation_is_checked_against_its_limit_before_anything_is_sent(tmp_path: Path) -> None:
    """Only the worker has the earlier turns: nothing is paid for a conversation that cannot fit."""
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:
        rig.submit({"prompt": "Some words that cost something. " * 2000, "requestId": "r-1"})
        assert rig.finished("r-1")["status"] == "completed"
        rig.submit({"prompt": "And?", "continueFrom": "r-1", "requestId": "r-2", "maxCostUsd": 0.01})
        ended = rig.finished("r-2")

        assert (ended["errorType"], len(upstream.books)) == ("budget", 1)
        assert "at least 0.02" in ended["error"]
        assert [call["sent"] for call in rig.get("/api/jobs/r-2")["calls"]] == [False]


def test_a_daily_budget_parks_the_jobs_of_its_own_key_only(tmp_path: Path) -> None:
    """Twenty at once with a budget of five cents: the upstream's own bill stays within one call of it."""
    with (
        FakeClaude(otherwise=lambda seen: answer(output_tokens=1000)) as upstream,
        Rig(tmp_path, upstream=upstream.url) as rig,
    ):
        keys = {}
        for name, more in (("make", ["--budget", "0.05"]), ("n8n", [])):
            keys[name] = rig.command("keys", "add", name, *more).stdout.strip()
        rig.start()
        for name, count in (("make", 20), ("n8n", 5)):
            bodies = [
                {"prompt": f"{name} x", "requestId": f"{name}-{number}", "options": {"maxTokens": 1000}}
                for number in range(count)
            ]
            sent = rig.http.post(
                f"{rig.url}/api/claude/bulk", json=bodies, headers={"X-API-Key": keys[name]}, timeout=60
            )
            assert sent.status_code == 207
        assert [rig.finished(f"n8n-{number}")["status"] for number in range(5)] == ["completed"] * 5

        def settled() -> list[dict]:
            """The jobs that wait for another day, once each of the others has ended."""
            jobs = rig.get("/api/jobs", limit="100")["jobs"]
            waits = [job for job in jobs if "until" in (job["waitingFor"] or "")]
            return waits if all(job["status"] == "completed" or job in waits for job in jobs) else []

        waiting = eventually(settled)

        assert all(job["waitingFor"].startswith("daily budget of its key until 20") for job in waiting)
        assert {job["requestId"].partition("-")[0] for job in waiting} == {"make"}
        spent = bill(seen for seen in upstream.books if "make" in str(seen.body))
        assert Decimal("0.05") <= spent < Decimal("0.062")
        assert len(waiting) == 20 - len([seen for seen in upstream.books if "make" in str(seen.body)])
