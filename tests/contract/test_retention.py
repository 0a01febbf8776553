"""The rules of `core.retention`, and the statements that apply them to all rows at once."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import DeliveryState
from claude_relay.core.jobs.job import State
from claude_relay.core.policy import Policy
from claude_relay.core.retention import DeadlineExtension, PurgeCutoffs
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sql import records
from tests.support.builders import QuietNotifier, a_completion, a_submission
from tests.support.many_jobs import purge

ENDED = (State.COMPLETED, State.FAILED, State.CANCELLED)
DONE_BEFORE, FAILED_BEFORE = 200.0, 100.0


def test_the_purge_erases_exactly_the_jobs_past_their_retention(store: Store) -> None:
    """For every state of a job and of its delivery, at times around both cut-offs."""
    relay = Relay(store, QuietNotifier(), Policy())
    cutoffs = PurgeCutoffs(done_before=DONE_BEFORE, failed_before=FAILED_BEFORE)
    cases = list(itertools.product(ENDED, (None, *DeliveryState), (50.0, 100.0, 150.0, 200.0, 250.0), (0.0, 60.0)))
    for number in range(len(cases)):
        relay.submit(a_submission(f"r-{number}"))
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.complete(claimed, a_completion())

    def arrange(tx: Any) -> None:
        for number, (state, delivery, finished_at, delay) in enumerate(cases):
            [job] = tx.find(f"r-{number}", None)
            sql, values = records.job_update(job, replace(job, state=state, finished_at=finished_at))
            tx._run(sql, (*values, job.id, job.version))
            if delivery is None:
                tx._run("DELETE FROM deliveries WHERE job_id = ?", (job.id,))
                continue
            token = "t" if delivery is DeliveryState.SENDING else None
            ended_at = finished_at + delay if delivery.final else None
            sql = "UPDATE deliveries SET state = ?, lease_token = ?, finished_at = ? WHERE job_id = ?"
            tx._run(sql, (delivery.value, token, ended_at, job.id))

    store.write(arrange)
    purge(store, DONE_BEFORE, failed_before=FAILED_BEFORE)
    for number, (state, delivery, finished_at, delay) in enumerate(cases):
        delivered_at = finished_at + delay if delivery is not None and delivery.final else None
        purged = not store.read(lambda tx, number=number: tx.find(f"r-{number}", None))
        assert purged == cutoffs.is_purgeable(
            state, finished_at=finished_at, delivery=delivery, delivered_at=delivered_at
        ), (state, delivery, finished_at, delay)


def test_a_large_job_is_erased_in_steps_of_a_file(store: Store) -> None:
    """Other writes wait for one file at most; what is left belongs to the job until all of it is erased."""
    relay = Relay(store, QuietNotifier(), Policy())
    add = records.insert("fetched_files", ["job_id", *records.FILE, "data"])
    for name in ("large", "small"):
        relay.submit(a_submission(name))
        [claimed] = relay.execution.claim("w", limit=1)
        for number in range(3 if name == "large" else 1):
            data = bytes(2_000_000 if name == "large" else 10)
            row = (claimed.job.id, number, "image/png", len(data), "0" * 64, 1.0, None, data)
            store.write(lambda tx, row=row: tx._run(add, row))
        relay.execution.complete(claimed, a_completion())
    store.write(lambda tx: tx._run("UPDATE deliveries SET state = 'delivered', finished_at = 1", ()))
    jobs = [
        tx_jobs[0].id for name in ("large", "small") if (tx_jobs := store.read(lambda tx, n=name: tx.find(n, None)))
    ]
    cutoffs = PurgeCutoffs(done_before=1e12, failed_before=0.0)
    steps = []
    while jobs:
        count, jobs = store.write(lambda tx, jobs=jobs: tx.purge(jobs, cutoffs, size=1_000_000))
        [(files,)] = store.read(lambda tx: tx._run("SELECT count(*) FROM fetched_files", ()))
        steps.append((count, files))

    assert steps == [(0, 3), (0, 2), (0, 1), (2, 0)]


@pytest.mark.parametrize("since, until", [(100.0, 160.0), (100.0, 100.0), (160.0, 100.0)])
def test_waiting_jobs_get_exactly_the_time_back_that_they_could_not_use(
    store: Store, since: float, until: float
) -> None:
    """For runs that started before, during and after the interruption."""
    relay = Relay(store, QuietNotifier(), Policy())
    starts = (50.0, 100.0, 130.0, 160.0, 170.0)
    for start in starts:
        relay.submit(a_submission(f"r-{start}"))

    def arrange(tx: Any) -> None:
        for start in starts:
            [job] = tx.find(f"r-{start}", None)
            moved = replace(job, run_started_at=start, deadline_at=1000.0, deadline_asked=False)
            sql, values = records.job_update(job, moved)
            tx._run(sql, (*values, job.id, job.version))

    store.write(arrange)
    store.write(lambda tx: tx.postpone_deadlines(since=since, until=until))
    extension = DeadlineExtension(since=since, until=until)

    for start in starts:
        [job] = store.read(lambda tx, start=start: tx.find(f"r-{start}", None))
        assert job.deadline_at == 1000.0 + extension.seconds_for(start), start
    assert relay.queries.status(JobRef(request_id="r-50.0"))
