"""
Jobs on PostgreSQL while another client holds a snapshot open, beside the same number of jobs without it.

The server keeps every replaced row and index entry that the snapshot could see, so that a look at the queue passes over
the entries of all jobs that have run since. `python -m tests.faults.snapshot --jobs 20000` (three minutes at a hundred
jobs a second) prints jobs a second and pages read a job, and exits with 1 where the snapshot costs more than a tenth.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.postgres import PostgresStore
from tests.support.builders import QuietNotifier, a_completion, a_submission
from tests.support.postgres import Cluster

#: Jobs that are claimed, and callbacks that are sent, at once.
_SLOTS = 32


@dataclass(frozen=True)
class Part:
    """Some jobs: `pages` of the server's tables and indexes were read for each."""

    jobs: int
    seconds: float
    pages: float

    def __str__(self) -> str:
        return f"{self.jobs} jobs, {self.jobs / self.seconds:.0f} a second, {self.pages:.0f} pages a job"


def run(cluster: Cluster, url: str, *, jobs: int, parts: int) -> tuple[list[Part], list[Part]]:
    """The parts of a run without a snapshot, and of one whose snapshot is as old as the run."""
    store = PostgresStore(url, where="the proof's")
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0, max_queue=10**9))
    try:
        without = [_part(cluster, url, store, relay, f"a{number}", jobs // parts) for number in range(parts)]
        with snapshot(url):
            held = [_part(cluster, url, store, relay, f"b{number}", jobs // parts) for number in range(parts)]
    finally:
        relay.close()

    return without, held


@contextlib.contextmanager
def snapshot(url: str) -> Iterator[None]:
    """A transaction of another client that has looked at the database, as psql's after a `BEGIN`."""
    with psycopg.connect(url) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("SELECT count(*) FROM meta")
        yield
        other.rollback()


def _part(cluster: Cluster, url: str, store: PostgresStore, relay: Relay, prefix: str, jobs: int) -> Part:
    before, began = _pages(cluster, url, store), time.monotonic()
    for first in range(0, jobs, _SLOTS):
        count = min(_SLOTS, jobs - first)
        relay.submit_many(
            [a_submission(f"{prefix}-{first + n}", webhook_url="https://a.example/") for n in range(count)]
        )
        for claimed in relay.execution.claim("w", limit=_SLOTS):
            relay.execution.sending(claimed)
            relay.execution.complete(claimed, a_completion())
        while relay.deliveries.seconds_until_due() is not None:
            for sent in relay.deliveries.claim("w", limit=_SLOTS):
                relay.deliveries.record_attempt(sent, Reply(status=200, ms=1))
    seconds = time.monotonic() - began

    return Part(jobs=jobs, seconds=seconds, pages=(_pages(cluster, url, store) - before) / jobs)


def _pages(cluster: Cluster, url: str, store: PostgresStore) -> int:
    """Pages that the server has read in tables and indexes of the store; its sessions count when they are asked to."""
    store._session.connection.execute("SELECT pg_stat_force_next_flush()")
    store._session.connection.execute("SELECT 1")
    sql = """SELECT sum(coalesce(heap_blks_hit, 0) + coalesce(heap_blks_read, 0) + coalesce(idx_blks_hit, 0)
                        + coalesce(idx_blks_read, 0)) FROM pg_statio_user_tables"""

    return int(cluster.run(sql, url=url)[0][0])


def main() -> int:
    """Print the parts; 1 if the snapshot costs more than a tenth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--parts", type=int, default=5)
    given = parser.parse_args()
    with Cluster(durable=True) as cluster:
        cluster.start()
        without, held = run(cluster, cluster.database(), jobs=given.jobs, parts=given.parts)
    for name, parts in (("without a snapshot", without), ("with one", held)):
        for part in parts:
            print(f"{name}: {part}")
    slower = sum(part.seconds for part in held) / sum(part.seconds for part in without)
    more = held[-1].pages / without[-1].pages
    print(f"the snapshot costs {slower - 1:.0%} of the time; at its end a job reads {more:.2f} times the pages")

    return int(slower > 1 / 0.9)


if __name__ == "__main__":
    raise SystemExit(main())
