"""
Retention of many jobs at once, while another thread submits: the slowest submit, and the size of the store.

`python -m tests.faults.retention --jobs 1000000` exits with 1 where a submit waits for more than a tenth of a second.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_submission
from tests.support.many_jobs import fill
from tests.support.postgres import Cluster

_PAUSE = 0.005  # seconds between two submits


@dataclass(frozen=True)
class Purged:
    """`submits`: seconds of each submit meanwhile. Sizes are bytes of the file, or of the database."""

    jobs: int
    seconds: float
    submits: Sequence[float]
    before: int
    after: int

    def __str__(self) -> str:
        slow = sorted(self.submits)
        middle, late = slow[len(slow) // 2], slow[len(slow) * 99 // 100]
        return (
            f"{self.jobs} jobs erased in {self.seconds:.1f} s; {len(slow)} submits meanwhile: median "
            f"{middle * 1000:.1f} ms, 99 % below {late * 1000:.1f} ms, slowest {slow[-1] * 1000:.1f} ms; "
            f"{self.before / 2**20:.1f} MB before, {self.after / 2**20:.1f} MB after"
        )


def run(jobs: int, *, postgres: bool = False) -> Purged:
    """Fill a store with finished jobs and erase them all, while another thread submits."""
    with _store(postgres) as (store, size):
        policy = Policy(retention=0.0, retention_failed=0.0, delivery_delay=0.0, max_queue=10**9)
        relay = Relay(store, QuietNotifier(), policy)
        fill(relay, store, finished=jobs, waiting=100)
        store.scrub()
        before, done, submits = size(), threading.Event(), [_submit(relay, 0)]
        thread = threading.Thread(target=_submit_until, args=(relay, done, submits), name="caller")
        thread.start()
        began = time.monotonic()
        try:
            erased = relay.maintenance.purge()
        finally:
            seconds = time.monotonic() - began
            done.set()
            thread.join()
        store.scrub()
        after = size()
        relay.close()

    return Purged(jobs=erased, seconds=seconds, submits=submits, before=before, after=after)


def _submit_until(relay: Relay, done: threading.Event, submits: list[float]) -> None:
    while not done.wait(_PAUSE):
        submits.append(_submit(relay, len(submits)))


def _submit(relay: Relay, number: int) -> float:
    began = time.monotonic()
    relay.submit(a_submission(f"meanwhile-{number}"))

    return time.monotonic() - began


@contextlib.contextmanager
def _store(postgres: bool) -> Iterator[tuple[Any, Any]]:
    """An empty store, and a function that returns its size."""
    if not postgres:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "relay.db"
            yield SqliteStore(path), lambda: path.stat().st_size
        return
    with Cluster(durable=True) as cluster:
        cluster.start()
        url = cluster.database()
        from claude_relay.storage.postgres import PostgresStore

        sql = "SELECT pg_database_size(current_database())"
        yield PostgresStore(url, where="the proof's"), lambda: cluster.run(sql, url=url)[0][0]


def main() -> int:
    """Print the figures; 1 if jobs are left, or a submit waited for too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--limit", type=float, default=100.0, help="milliseconds that a submit may wait")
    given = parser.parse_args()
    purged = run(given.jobs, postgres=given.postgres)
    print(purged)

    return int(purged.jobs < given.jobs or max(purged.submits) * 1000 > given.limit)


if __name__ == "__main__":
    raise SystemExit(main())
