"""Searches through a store: pages, bounds, and several at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.jobs.job_filter import JobFilter
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.services import Relay
from claude_relay.services import search as module
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_submission


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy())
    yield relay
    relay.close()


def submit(relay: Relay, count: int, prompt: str = "nothing", prefix: str = "r") -> None:
    relay.submit_many([a_submission(f"{prefix}-{i:04}", request={"prompt": prompt}) for i in range(count)])


def search(relay: Relay, text: str, **filters: Any) -> list[str]:
    """All pages, as the command line reads them."""
    which = JobFilter(text=text, **filters)
    names: list[str] = []
    while True:
        page = relay.queries.jobs(which)
        names += [job["requestId"] for job in page.jobs]
        if page.cursor is None:
            return names
        which = replace(which, before=page.cursor)


def test_pages_of_a_search_have_every_match_once(relay: Relay) -> None:
    for number in range(7):
        submit(relay, 40, prefix=f"n{number}")
        submit(relay, 1, "The Needle", prefix=f"m{number}")

    assert search(relay, "needle", limit=2) == [f"m{number}-0000" for number in reversed(range(7))]


def test_a_page_ends_when_it_took_long_and_the_next_one_goes_on(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES S10: a search of a large store never holds a thread for long, and misses nothing."""
    submit(relay, 3, "The Needle", prefix="old")
    submit(relay, 500)
    ticks = itertools.count()
    slow = module.Search(clock=lambda: next(ticks) / 100)  # 0.7 seconds are 70 jobs
    monkeypatch.setattr(relay.queries, "_context", replace(relay.queries._context, search=slow))
    first = relay.queries.jobs(JobFilter(text="needle"))

    assert first.jobs == [] and first.cursor is not None
    assert search(relay, "needle") == ["old-0002", "old-0001", "old-0000"]


def test_a_short_text_is_looked_for_in_the_newest_jobs_only(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEWEST", 50)
    submit(relay, 1, "zz top", prefix="old")
    submit(relay, 49)
    assert search(relay, "zz") == ["old-0000"]
    submit(relay, 1, prefix="one-more")

    assert search(relay, "zz") == [] and search(relay, "zz ") == ["old-0000"]


def test_only_a_few_searches_run_or_wait(relay: Relay) -> None:
    """CASES S10: the others are told to come back, so that requests of other kinds have threads."""
    finder = module.Search()
    inside, go_on, outcomes = threading.Barrier(5), threading.Event(), []

    class Slow:
        def job_window(self, which: JobFilter, rows: int) -> list[Any]:
            go_on.wait(60)
            return []

        def contents(self, ids: Any) -> list[Any]:
            return []

    def find() -> None:
        inside.wait(60)
        try:
            outcomes.append(finder.find(Slow(), JobFilter(text="needle")))
        except StoreUnavailable as exc:
            outcomes.append(exc)
            go_on.set()

    threads = [threading.Thread(target=find) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["StoreUnavailable", *["tuple"] * 4]
