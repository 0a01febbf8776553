"""Submits under ids of the caller's own on SQLite: the INSERT refuses a used id, and only then ids are looked up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.core.jobs import transitions
from claude_relay.core.jobs.job import State
from claude_relay.core.jobs.submission import StoredRequest
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict
from claude_relay.ports import JobFilter, Transaction
from claude_relay.services import Relay
from claude_relay.services.submit import new_job
from claude_relay.storage import group_commit
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission
from tests.support.together import together, wait_until_idle


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[SqliteStore]:
    store = SqliteStore(path, clock=clock)
    yield store
    store.close()


@pytest.fixture
def relay(store: SqliteStore) -> Relay:
    return Relay(store, QuietNotifier(), Policy())


def _purge(relay: Relay, clock: Clock, request_id: str) -> None:
    """Run a job, and purge it: its tombstone stays."""
    relay.submit(a_submission(request_id, webhook_url=None))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    clock.advance(25 * 3600)
    assert relay.maintenance.purge() == 1


def _statements(store: SqliteStore, relay: Relay, count: int) -> list[str]:
    """The beginnings of the writer's statements while it stores so many new jobs with ids of their own."""
    wait_until_idle(store)
    output: list[str] = []
    store._writing.exec_trace = lambda cursor, sql, values: not output.append(sql.split("(")[0].strip())
    relay.submit_many([a_submission() for _ in range(count)])
    wait_until_idle(store)
    store._writing.exec_trace = None

    return output


def test_new_jobs_with_ids_of_their_own_are_one_statement(store: SqliteStore, relay: Relay) -> None:
    """No look-up: each statement more is one for which the writer waits for the interpreter lock."""
    relay.submit(a_submission())  # the clock is minded, the queue counted

    assert _statements(store, relay, 30) == ["INSERT INTO new_jobs"]


@pytest.mark.parametrize("used", ["job", "tombstone"])
def test_used_ids_in_a_group_of_new_ones_are_answered_as_alone(
    store: SqliteStore, relay: Relay, clock: Clock, used: str
) -> None:
    """A repeat is the same job, another body a conflict, and the new jobs beside them are stored."""
    if used == "job":
        relay.submit(a_submission("r-used"))
    else:
        _purge(relay, clock, "r-used")
    before = len(relay.queries.jobs(JobFilter()).jobs)

    new, repeat = together(
        store, lambda: relay.submit(a_submission("r-new")), lambda: relay.submit(a_submission("r-used"))
    )
    with pytest.raises(Conflict):
        relay.submit(a_submission("r-used", body_hash="other"))

    assert (new.duplicate, repeat.duplicate) == (False, True)
    assert repeat.job.state is (State.QUEUED if used == "job" else State.COMPLETED)
    assert len(relay.queries.jobs(JobFilter()).jobs) == before + 1


def test_of_two_submits_with_one_id_in_a_group_one_is_the_repeat(store: SqliteStore, relay: Relay) -> None:
    """Neither finds the other before the INSERT."""
    relay.submit(a_submission())
    first, second = together(store, lambda: relay.submit(a_submission("r")), lambda: relay.submit(a_submission("r")))

    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.job.id == second.job.id


def test_after_a_used_id_the_next_groups_look_before_they_write(
    store: SqliteStore, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repeats come together: were each met by the INSERT, its group would run twice every time."""
    monkeypatch.setattr(group_commit, "_CAREFUL", 2)
    relay.submit(a_submission("r-used"))
    assert relay.submit(a_submission("r-used")).duplicate
    careful = [_statements(store, relay, 3) for _ in range(2)]

    assert "INSERT INTO new_jobs" in careful[0]
    assert any(statement.startswith("SELECT") for statement in careful[0])
    assert careful[1] == ["INSERT INTO new_jobs"]


def test_a_job_of_a_function_that_does_not_look_may_have_the_id_of_a_purged_one(
    store: SqliteStore, relay: Relay, clock: Clock
) -> None:
    """Only who looks for tombstones is refused by them: the rows of a collection are named by their collection."""
    _purge(relay, clock, "r-used")
    submission = a_submission("r-used")

    def add(tx: Transaction) -> None:
        job = new_job(submission, relay._context, owner="admin", request_id="r-used", now=tx.now)
        tx.add(transitions.submit(job, now=tx.now), StoredRequest.of(job.id, submission))

    store.write(add)

    assert [job["requestId"] for job in relay.queries.jobs(JobFilter()).jobs] == ["r-used"]
