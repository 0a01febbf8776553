"""
Time and size of every page of the dashboard with a million finished and 100,000 waiting jobs.

`python -m tests.dashboard.page_times` (or with `--postgres`) prints for each page the milliseconds of CPU that the app
and the database's server use for it, the mean of twenty requests, and its bytes. It exits with 1 where a page takes
more than 30 ms or 60 kB. Time that a busy machine takes away is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from claude_relay.ports import Store
from claude_relay.storage.sqlite.store import SqliteStore
from tests.contract.test_flat import fill_with_index, relay_on
from tests.support.postgres import Cluster

from .test_flat_pages import PAGES, admin_of

_MOST_MS, _MOST_BYTES, _TIMES = 30.0, 60_000, 20


def page_times(store: Store, server_seconds: Callable[[], float]) -> dict[str, tuple[float, int]]:
    """Milliseconds of CPU and bytes, of each page."""
    relay = relay_on(store)
    admin, figures = admin_of(relay), {}
    for page in PAGES:
        admin.get(f"/dashboard{page}")  # reads what is cached for a moment
        before = time.process_time() + server_seconds()
        for _ in range(_TIMES):
            if (answer := admin.get(f"/dashboard{page}")).status != 200:
                raise RuntimeError(f"{page} was answered {answer.status}")
        seconds = time.process_time() + server_seconds() - before
        figures[page] = (seconds / _TIMES * 1000, len(admin.page.encode()))
    relay.close()

    return figures


@contextlib.contextmanager
def _store(*, postgres: bool, finished: int, waiting: int) -> Iterator[tuple[Store, Callable[[], float]]]:
    """A store with so many jobs, and a function that returns the CPU of its server in seconds."""
    if not postgres:
        with tempfile.TemporaryDirectory() as folder:
            filled = SqliteStore(Path(folder) / "relay.db")
            fill_with_index(relay_on(filled), filled, finished=finished, waiting=waiting)
            yield filled, lambda: 0.0
        return
    with Cluster() as cluster:
        cluster.start()
        url = cluster.database()
        from claude_relay.storage.postgres import PostgresStore

        filled = PostgresStore(url, where="the proof's")
        fill_with_index(relay_on(filled), filled, finished=finished, waiting=waiting)
        cluster.run("VACUUM ANALYZE", url=url)
        yield filled, cluster.cpu_seconds


def main() -> int:
    """Print the figures; 1 if a page takes too long or is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    with _store(postgres=given.postgres, finished=given.jobs, waiting=given.waiting) as (store, server_seconds):
        figures = page_times(store, server_seconds)
    for page, (ms, size) in figures.items():
        print(f"/dashboard{page}: {ms:.1f} ms, {size / 1000:.1f} kB")

    return int(any(ms > _MOST_MS or size > _MOST_BYTES for ms, size in figures.values()))


if __name__ == "__main__":
    raise SystemExit(main())
