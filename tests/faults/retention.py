"""
Retention of many jobs at once, while another thread submits: the slowest submit, and the size of the store.

`python -m tests.faults.retention --jobs 1000000` exits with 1 where a submit waits for more than a tenth of a second,
and for more than twice as long as the slowest one before the purge: on a busy machine a sync alone takes longer. Also
where jobs are left, or the file of SQLite has not become smaller.
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

#: Seconds between two submits, and seconds in which nothing else happens at first.
_PAUSE, _ALONE = 0.005, 10.0


@dataclass(frozen=True)
class Purged:
    """`alone` and `submits`: seconds of each submit before and meanwhile. Sizes are bytes of the file or database."""

    jobs: int
    seconds: float
    alone: Sequence[float]
    submits: Sequence[float]
    before: int
    after: int

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs erased in {self.seconds:.1f} s; {self.before / 2**20:.1f} MB before, "
            f"{self.after / 2**20:.1f} MB after\nsubmits before: {_summary(self.alone)}\n"
            f"submits meanwhile: {_summary(self.submits)}"
        )

    def fulfils(self, jobs: int, *, limit: float, shrinks: bool) -> bool:
        """Whether all jobs are erased, no submit waited for long, and the space was given back."""
        slowest = max(self.submits)
        waited = slowest > limit and slowest > 2 * max(self.alone)

        return self.jobs >= jobs and not waited and (not shrinks or self.after < self.before / 2)


def _summary(waits: Sequence[float]) -> str:
    slow = [wait * 1000 for wait in sorted(waits)]
    middle, late = slow[len(slow) // 2], slow[len(slow) * 99 // 100]

    return f"{len(slow)}, median {middle:.1f} ms, 99 % below {late:.1f} ms, slowest {slow[-1]:.1f} ms"


def run(jobs: int, *, postgres: bool = False) -> Purged:
    """Fill a store with finished jobs and erase them all, while another thread submits."""
    with _store(postgres) as (store, size):
        policy = Policy(retention=0.0, retention_failed=0.0, delivery_delay=0.0, max_queue=10**9)
        relay = Relay(store, QuietNotifier(), policy)
        fill(relay, store, finished=jobs, waiting=100)
        store.scrub()
        before, done, alone = size(), threading.Event(), [_submit(relay, 0)]
        while sum(alone) + len(alone) * _PAUSE < _ALONE:
            time.sleep(_PAUSE)
            alone.append(_submit(relay, len(alone)))
        submits = [_submit(relay, len(alone))]
        thread = threading.Thread(target=_submit_until, args=(relay, done, submits, len(alone)), name="caller")
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

    return Purged(jobs=erased, seconds=seconds, alone=alone, submits=submits, before=before, after=after)


def _submit_until(relay: Relay, done: threading.Event, submits: list[float], number: int) -> None:
    while not done.wait(_PAUSE):
        submits.append(_submit(relay, number + len(submits)))


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
    """Print the figures; 1 if one of them is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--limit", type=float, default=100.0, help="milliseconds that a submit may wait")
    given = parser.parse_args()
    purged = run(given.jobs, postgres=given.postgres)
    print(purged)

    return int(not purged.fulfils(given.jobs, limit=given.limit / 1000, shrinks=not given.postgres))


if __name__ == "__main__":
    raise SystemExit(main())
