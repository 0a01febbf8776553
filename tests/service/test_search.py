"""Searches through a store: pages, bounds, and several at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType
from claude_relay.core.jobs.job import State
from claude_relay.core.jobs.job_filter import JobFilter
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.services import JobRef, Relay
from claude_relay.services import search as module
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion, a_submission


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    ticks = itertools.count(1_800_000_000 * 100)  # later jobs have larger ids, however fast they are stored
    store = SqliteStore(tmp_path / "relay.db", clock=lambda: next(ticks) / 100)
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0))
    yield relay
    relay.close()


def submit(relay: Relay, count: int, prompt: str = "nothing", prefix: str = "r") -> None:
    relay.submit_many([a_submission(f"{prefix}-{i:04}", request={"prompt": prompt}) for i in range(count)])


def pages(relay: Relay, **filters: Any) -> list[list[str]]:
    """The requestIds of each page, as the command line reads them."""
    which = JobFilter(**filters)
    found: list[list[str]] = []
    while True:
        page = relay.queries.jobs(which)
        found.append([job["requestId"] for job in page.jobs])
        if page.cursor is None:
            return found
        which = replace(which, before=page.cursor)


def search(relay: Relay, text: str, **filters: Any) -> list[str]:
    """What all pages of a search have together."""
    return [name for page in pages(relay, text=text, **filters) for name in page]


def use(relay: Relay, monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float]) -> None:
    """Search by that clock."""
    finder = module.Search(clock=clock)
    monkeypatch.setattr(relay.queries, "_context", replace(relay.queries._context, search=finder))


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
    use(relay, monkeypatch, lambda: next(ticks) / 100)  # 0.7 seconds are 70 jobs
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

    submit(relay, 500)
    ticks = itertools.count()
    use(relay, monkeypatch, lambda: float(next(ticks)))  # each page has one step
    assert pages(relay, text="zz", model="none") == [[], []]


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


@pytest.mark.parametrize("filters", [{"text": "needle"}, {"model": "rare"}])
@pytest.mark.parametrize(("seconds", "in_time"), [(0.7, True), (0.71, False)])
def test_a_page_takes_as_long_as_it_may_and_no_longer(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any], seconds: float, in_time: bool
) -> None:
    """CASES S10: by a text and by several filters; a list of all jobs that there are has no cursor."""
    relay.submit(a_submission("old", request={"prompt": "A needle"}, model="rare"))
    submit(relay, 23)
    times = iter([0.0])
    use(relay, monkeypatch, lambda: next(times, seconds))
    assert pages(relay, model="rare") == [["old"]]

    submit(relay, 10, prefix="newer")
    times = iter([0.0])
    assert (relay.queries.jobs(JobFilter(**filters)).jobs != []) == in_time
    assert [name for page in pages(relay, **filters) for name in page] == ["old"]


def test_a_page_by_several_filters_looks_at_a_bounded_number_of_jobs(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CASES S10: of those that the index names at fewer than of all, as each is read by itself."""
    submit(relay, 30)
    for number in range(30):
        relay.cancel(JobRef(request_id=f"r-{number:04}"))
    while relay.search_index.step():
        pass
    monkeypatch.setattr(module, "_FIRST_STEP", 2)
    monkeypatch.setattr(module, "_STEP", 5)
    everything = [name for page in pages(relay) for name in page]
    other_errors = [error for error in ErrorType if error is not ErrorType.CANCELLED]  # of so many the index has none

    def looked_at(most: int) -> int:
        monkeypatch.setattr(module, "MAX_ROWS", most)
        page = relay.queries.jobs(JobFilter(errors=other_errors))
        assert page.jobs == [] and page.cursor is not None
        [older] = relay.queries.jobs(JobFilter(before=page.cursor, limit=1)).jobs
        return everything.index(older["requestId"])

    by_rows = 2 + 5
    assert [looked_at(most) for most in (2, 3, by_rows)] == [2, by_rows, by_rows]
    assert [looked_at(by_rows + 4 * 5 + more) for more in (0, 1)] == [by_rows + 5, by_rows + 10]


@pytest.mark.parametrize("indexed", [True, False])
def test_the_dead_deliveries_of_a_key_are_found_at_once(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, indexed: bool
) -> None:
    """CASES S10: while the index lacks many jobs, too; with a state, and by the index, in pages of a bounded work."""
    for number in range(3):
        relay.submit(a_submission(f"dead-{number}"))
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.sending(claimed)
        relay.execution.complete(claimed, a_completion())
    for sent in relay.deliveries.claim("w", limit=3):
        relay.deliveries.record_attempt(sent, Reply(status=410, ms=1))
    submit(relay, 40)
    while indexed and relay.search_index.step():
        pass
    monkeypatch.setattr(module, "_UNLISTED", 1)
    monkeypatch.setattr(module, "MAX_ROWS", 1)
    dead = ["dead-2", "dead-1", "dead-0"]

    assert pages(relay, dead=True, key="admin", limit=2) == (
        [[], dead[:2], dead[2:]] if indexed else [dead[:2], dead[2:]]
    )
    assert pages(relay, dead=True, key="admin", states=(State.QUEUED, State.COMPLETED)) == [[], dead]
    assert pages(relay, dead=True, limit=3) == [dead]
    assert pages(relay, dead=True, owner="admin", key="ann") == [[]]
