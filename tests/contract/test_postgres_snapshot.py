"""Work on PostgreSQL while another client holds a snapshot open: the server keeps what it replaced for as long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.policy import Policy
from claude_relay.ports import Transaction
from claude_relay.services import JobRef, Relay
from claude_relay.storage.postgres import PostgresStore
from tests.faults.snapshot import snapshot
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission
from tests.support.postgres import Cluster
from tests.support.together import wait_until_idle

_SLOTS = 8


@pytest.fixture
def url(database: str) -> str:
    """A new database: in one that was used before, tables have pages of deleted rows."""
    return database


@pytest.fixture
def place(url: str) -> str:
    return url


@pytest.fixture
def relay(store: PostgresStore) -> Relay:
    return Relay(store, QuietNotifier(), Policy(delivery_delay=0.0))


def test_a_claim_of_callbacks_does_not_pass_over_all_that_were_sent(
    relay: Relay, store: PostgresStore, clock: Clock, url: str, postgres: Cluster
) -> None:
    """Their index entries stay: without a place to begin at, the last part reads 2.2 times the pages of the first."""
    pages = [0, 0, 0, 0]
    relay.submit(a_submission("r"))
    relay.cancel(JobRef(request_id="r"))
    _leave_to_the_test(postgres, url, "deliveries")
    with snapshot(url):
        for part in range(len(pages)):
            before = _pages(postgres, url, store, "deliveries")
            for number in range(12):
                _run_jobs(relay, f"r-{part}-{number}")
                clock.advance(1)
            pages[part] = _pages(postgres, url, store, "deliveries") - before

    assert 0 < pages[-1] < 1.75 * pages[0]


def test_a_sum_of_costs_does_not_pass_over_all_its_versions(
    relay: Relay, store: PostgresStore, url: str, postgres: Cluster
) -> None:
    relay.submit(a_submission("r"))
    [claimed] = relay.execution.claim("w", limit=1)
    call = replace(claimed.call, sent=True, ended_at=1.0, outcome="completed", usage={"input_tokens": 10})

    first, last = _pages_of_commits(
        postgres, url, store, "costs", lambda tx, _: tx.add_spend("2026-11-30", claimed.job, call)
    )

    assert 100 < last < 1.5 * first


def test_a_commit_costs_no_more_than_the_first_ones(store: PostgresStore, url: str, postgres: Cluster) -> None:
    """All versions of a row stay for as long, so that none is replaced by hundreds of commits."""

    store.write(lambda tx: tx.set_shared_value("k", 0))
    first, last = _pages_of_commits(
        postgres, url, store, "commits", lambda tx, number: tx.set_shared_value(f"k{number}", number)
    )

    assert 100 < last < 1.5 * first


def _pages_of_commits(
    postgres: Cluster, url: str, store: PostgresStore, table: str, write: Callable[[Transaction, int], object]
) -> tuple[int, int]:
    """Pages of a table that the first hundred writes read while a snapshot is open, and the fourth hundred."""

    def pages(commits: int) -> int:
        before = _pages(postgres, url, store, table)
        for number in range(commits):
            store.write(lambda tx, number=number: write(tx, number))
        return _pages(postgres, url, store, table) - before

    _leave_to_the_test(postgres, url, table)
    with snapshot(url):
        first = pages(100)
        pages(200)
        return first, pages(100)


def _leave_to_the_test(postgres: Cluster, url: str, table: str) -> None:
    """The server plans for tables that are small, and then works on this one no more: that would be counted as well."""
    postgres.run("VACUUM ANALYZE", url=url)
    postgres.run(f"ALTER TABLE {table} SET (autovacuum_enabled = off)", url=url)


def _run_jobs(relay: Relay, name: str) -> None:
    relay.submit_many([a_submission(f"{name}-{n}", webhook_url="https://a.example/") for n in range(_SLOTS)])
    for claimed in relay.execution.claim("w", limit=_SLOTS):
        relay.execution.complete(claimed, a_completion())
    while sent := relay.deliveries.claim("w", limit=_SLOTS):
        relay.deliveries.exchange("w", [(one, Reply(status=200, ms=1)) for one in sent], limit=0)


def _pages(postgres: Cluster, url: str, store: PostgresStore, table: str) -> int:
    """Pages of a table and its indexes that were read; a session counts its own when it is asked to."""
    wait_until_idle(store)
    store._session.connection.execute("SELECT pg_stat_force_next_flush()")
    store._session.connection.execute("SELECT 1")
    sql = """SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read FROM pg_statio_user_tables
             WHERE relname = %s"""
    return int(postgres.run(sql, table, url=url)[0][0])
