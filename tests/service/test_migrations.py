"""From the first schema to the present one, with rows in every table that points to a job."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from claude_relay.core.jobs.job import State
from claude_relay.core.policy import Policy
from claude_relay.services import JobRef, Relay
from claude_relay.storage import migrate
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion

_JOB = """
INSERT INTO jobs SELECT ?, 'admin', ?, 'hash', ?, 2, 1, 1, 1, 0, 1, 'default', 'claude-sonnet-5-5', 'sonnet', 'live',
    'retry', 'full', NULL, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, NULL, NULL, NULL, 0, NULL, NULL, ?, NULL, NULL, 3, 4, NULL,
    0.5"""


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store as the first release left it."""
    path = tmp_path / "relay.db"
    first = migrate.steps("sqlite")[:1]
    with monkeypatch.context() as then:
        then.setattr(migrate, "steps", lambda engine: first)
        SqliteStore(path).close()
    connection = apsw.Connection(str(path))
    connection.pragma("foreign_keys", True)
    for number, (state, ended) in enumerate((("queued", None), ("completed", 9.0))):
        job, request = f"job{number}", f"r-{number}"
        connection.execute(_JOB, (job, request, state, ended))
        connection.execute(
            "INSERT INTO requests (job_id, request, webhook_url) VALUES (?, ?, 'https://hook.example/x')",
            (job, '{"prompt": "Hei"}'),
        )
        connection.execute(
            "INSERT INTO events (job_id, subject, version, at, name) VALUES (?, 'job', 2, 1, 'claimed')", (job,)
        )
        connection.execute(
            """INSERT INTO calls (job_id, number, run, started_at, worker, model, sent, text_length, outcome)
               VALUES (?, 1, 1, 1, 'w', 'm', 1, 0, 'completed')""",
            (job,),
        )
    connection.execute("INSERT INTO outcomes VALUES ('job1', 1, 9, 'completed', x'7b7d')")
    connection.close()

    return path


def test_a_store_of_the_first_release_goes_on(old: Path) -> None:
    """Every row is there, what points to it is held to it, and its jobs run."""
    store = SqliteStore(old)
    relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(1))
    try:
        assert relay.queries.result(JobRef(request_id="r-1")) == b"{}"
        record = relay.queries.job_details(JobRef(request_id="r-0"))
        assert (record["costUsd"], record["calls"][0]["mode"], record["events"][0]["event"]) == (0.5, "live", "claimed")
        [claimed] = relay.execution.claim("w", limit=5)
        assert relay.execution.complete(claimed, a_completion()).state is State.COMPLETED
    finally:
        store.close()
    connection = apsw.Connection(str(old))
    assert connection.pragma("user_version") == migrate.latest("sqlite")
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    connection.pragma("foreign_keys", True)
    with pytest.raises(apsw.ConstraintError):
        connection.execute("INSERT INTO requests (job_id, request) VALUES ('nobody', '{}')")
