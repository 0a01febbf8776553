"""Searches by the index find what a read of all jobs finds, on both engines, whatever happens to the jobs."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.jobs.job import UNFINISHED, OnInterrupt, Retain, State
from claude_relay.core.jobs.job_filter import JobFilter
from claude_relay.core.policy import Policy
from claude_relay.core.search_index import asked_marks, owner_mark
from claude_relay.errors import RelayError
from claude_relay.ports import ReadTransaction, Store
from claude_relay.services import JobRef, Relay
from claude_relay.services import search as module
from claude_relay.storage.postgres import PostgresStore
from claude_relay.storage.sql.search_index import SearchIndexReads
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion, a_failure, a_submission
from tests.support.many_jobs import purge
from tests.support.postgres import Cluster

#: Words of the texts: some are part of others, or differ in case and script.
_WORDS = (
    "Hansen",
    "hansen AS",
    "ærlig",
    "ÆRLIG",
    "kr 100",
    "kr 1000",
    "Straße",
    "STRASSE",
    "語学",
    "日本語学",
    "the end",
)
_OWNERS = ("admin", "ann", "bob")
_GROUPS, _MODELS = ("default", "Faktura"), ("claude-sonnet-5-5", "claude-haiku-5")
_WEBHOOKS = ("https://a.example/1", "https://A.example:8443/2?x=1", "http://b_c.example/", "http://[2001:db8::1]:81/")
#: Hosts, hosts and ports, and complete destinations; of the wild cards of LIKE none is one here.
_HOSTS = (
    "a.example",
    "A.EXAMPLE:8443",
    "https://a.example",
    "b_c.example",
    "[2001:db8::1]",
    "bxc.example",
    "%",
    "http://[2001:db8::1]:81",
)
_ENDED = tuple(state for state in State if state.final)


class Watched(module.Search):
    """Notes how often the index named the jobs; with `scans` it reads all of them."""

    def __init__(self, *, scans: bool = False) -> None:
        super().__init__(clock=lambda: 0.0)
        self.scans = scans

    def _steps(self, tx: ReadTransaction, which: JobFilter, *, indexed: bool, rows: int) -> Any:
        return super()._steps(tx, which, indexed=indexed and not self.scans, rows=rows)


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(delivery_delay=0.0))


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids that the index named, after small steps of the search."""
    steps = {"_FIRST_STEP": 1, "_STEP": 2, "_FIRST_INDEX_STEP": 2, "_INDEX_STEP": 5, "_TEXTS_STEP": 2}
    for name, step in steps.items():
        monkeypatch.setattr(module, name, step)
    for name, value in (("ERA_JOBS", 5), ("MOVED", 2)):
        monkeypatch.setattr(f"claude_relay.storage.sql.search_index.{name}", value)
    ids: list[str] = []
    by_index = module._named_by_index

    def note(*args: Any) -> Generator[Any, None, str | None]:
        steps = by_index(*args)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                rest: str | None = end.value
                return rest
            ids.extend(step.job_ids)
            yield step

    monkeypatch.setattr(module, "_named_by_index", note)
    return ids


def fill_index(relay: Relay) -> None:
    while relay.search_index.step():
        pass


def all_pages(relay: Relay, which: JobFilter, *, scans: bool = False) -> list[str]:
    context = relay.queries._context
    relay.queries._context = replace(context, search=Watched(scans=scans))
    try:
        names: list[str] = []
        while True:
            page = relay.queries.jobs(which)
            names += [f"{job['requestId']}" for job in page.jobs]
            if page.cursor is None:
                return names
            which = replace(which, before=page.cursor)
    finally:
        relay.queries._context = context


class Play:
    """Random acts on the jobs of a relay."""

    def __init__(self, relay: Relay, store: Store, rng: random.Random) -> None:
        self.relay, self.store, self.rng = relay, store, rng
        self.names: list[tuple[str, str]] = []

    def text(self) -> str:
        return " ".join(self.rng.choices(_WORDS, k=self.rng.randrange(1, 4)))

    def submit(self) -> None:
        for _ in range(self.rng.randrange(1, 5)):
            name, owner = f"r-{len(self.names)}", self.rng.choice(_OWNERS)
            request: dict[str, Any] = {"prompt": self.text(), "options": {"systemPrompt": self.text()}}
            retain = self.rng.choice((Retain.FULL, Retain.FULL, Retain.METADATA))
            others: dict[str, Any] = {
                "group": self.rng.choice(_GROUPS),
                "model": self.rng.choice(_MODELS),
                "webhook_url": self.rng.choice((None, *_WEBHOOKS)),
                "on_interrupt": self.rng.choice((OnInterrupt.RETRY, OnInterrupt.HOLD)),
            }
            self.relay.submit(a_submission(name, request=request, retain=retain, body_hash=name, **others), owner=owner)
            self.names.append((name, owner))

    def run(self) -> None:
        for claimed in self.relay.execution.claim("w", limit=3):
            self.relay.execution.sending(claimed)
            if self.rng.random() < 0.7:
                self.relay.execution.complete(claimed, a_completion(self.text()))
            else:
                kind = self.rng.choice((ErrorType.UPSTREAM, ErrorType.REFUSED))
                self.relay.execution.fail(claimed, a_failure(kind, remedy=Remedy.FAIL))

    def deliver(self) -> None:
        """Which erases the texts of those that are kept as metadata."""
        for sent in self.relay.deliveries.claim("w", limit=3):
            self.relay.deliveries.record_attempt(sent, Reply(status=self.rng.choice((200, 200, 410)), ms=1))

    def change(self) -> None:
        if not self.names:
            return
        name, owner = self.rng.choice(self.names)
        ref = JobRef(request_id=name, owner=owner)
        try:
            kind = self.rng.random()
            if kind < 0.4:
                self.relay.retry(ref, options={"systemPrompt": self.text(), "model": self.rng.choice(_MODELS)})
            elif kind < 0.7:
                self.relay.redeliver(ref, url=self.rng.choice((None, *_WEBHOOKS)))
            else:
                self.relay.cancel(ref)
        except RelayError:
            pass  # not possible in its state

    def purge(self) -> None:
        if self.rng.random() < 0.2:
            purge(self.store, 4e9, limit=2)

    def index(self) -> None:
        self.relay.search_index.step()

    def wait(self) -> None:
        self.store._clock.advance(self.rng.choice((0.001, 0.05, 1.0)))  # type: ignore[attr-defined]

    def act(self) -> None:
        acts: list[Callable[[], None]] = [
            *[self.submit] * 4,
            self.run,
            self.deliver,
            self.change,
            self.purge,
            self.index,
        ]
        self.rng.choice([*acts, self.wait])()


@pytest.mark.parametrize("seed", [14, 15])
def test_a_search_by_the_index_finds_what_a_read_of_all_jobs_finds(
    relay: Relay, store: Store, named: list[str], seed: int
) -> None:
    """Random submits, answers, retries, erasures and purges, with an index that lags behind (issue 14.5)."""
    rng = random.Random(seed)
    play = Play(relay, store, rng)
    for _ in range(25):
        for _ in range(5):
            play.act()
        word = rng.choice(_WORDS)
        which = JobFilter(
            text=rng.choice((word, word.upper(), word[: rng.randrange(3, 8)], f"{play.text()}", "r-1", "Besatt")),
            owner=rng.choice((None, *_OWNERS)),
            states=rng.choice(((), (State.COMPLETED,), (State.QUEUED, State.FAILED))),
            limit=rng.randrange(1, 6),
        )
        assert all_pages(relay, which) == all_pages(relay, which, scans=True), which

    assert len(named) > 100


@pytest.mark.parametrize("seed", [16, 17])
def test_a_list_by_the_index_has_what_a_read_of_all_jobs_has(
    relay: Relay, store: Store, named: list[str], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Random filters, beside which every kind of change happens that an entry of the index has to follow."""
    monkeypatch.setattr(module, "_ROWS_STEP", 3)
    rng = random.Random(seed)
    play = Play(relay, store, rng)
    filters: dict[str, tuple[Any, ...]] = {
        "owner": (None, *_OWNERS),
        "key": (None, None, *_OWNERS),
        "states": ((), (State.COMPLETED,), (State.FAILED, State.CANCELLED), UNFINISHED, _ENDED, (State.HELD,)),
        "group": (None, *_GROUPS, "none"),
        "model": (None, None, *_MODELS, "none"),
        "host": (None, None, *_HOSTS),
        "errors": ((), (), (ErrorType.UPSTREAM,), (ErrorType.UPSTREAM, ErrorType.CANCELLED)),
        "dead": (False, False, False, True),
        "text": (None, None, None, "Hansen"),
    }
    for _ in range(12):
        for _ in range(8):
            play.act()
        for _ in range(3):
            chosen = {name: rng.choice(filters[name]) for name in rng.sample(sorted(filters), rng.randrange(1, 4))}
            which = JobFilter(limit=rng.randrange(1, 6), **chosen)
            assert all_pages(relay, which) == all_pages(relay, which, scans=True), which

    assert len(named) > 20


def test_only_jobs_that_have_the_text_are_read(relay: Relay, named: list[str]) -> None:
    """Beside the newest ones; an index that is not used finds the same, and reads every job."""
    for number in range(60):
        prompt = "The Needle" if number % 20 == 3 else "nothing"
        relay.submit(a_submission(f"r-{number:02}", request={"prompt": prompt}))
    fill_index(relay)
    found = all_pages(relay, JobFilter(text="needle", limit=10))

    assert found == ["r-43", "r-23", "r-03"]
    assert len(named) == 3


def test_many_jobs_of_one_moment_are_complete_and_in_order(relay: Relay, named: list[str]) -> None:
    """Pages begin and end within them."""
    relay.submit_many([a_submission(f"r-{number:02}", request={"prompt": "needle"}) for number in range(40)])
    fill_index(relay)

    assert all_pages(relay, JobFilter(text="needle", limit=7)) == [f"r-{number:02}" for number in reversed(range(40))]
    assert named


def marked(store: Store, mark: int) -> list[int]:
    """The numbers of the entries with that mark, as the engine has them."""
    return store.read(lambda tx: tx._matching_numbers(str(mark), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", 1000)[0])  # type: ignore[attr-defined, no-any-return]


def test_erased_and_purged_texts_are_not_in_the_index(relay: Relay, store: Store) -> None:
    """A job that is kept as metadata is found by its text until that is erased, and never by an entry."""
    [mark] = asked_marks("語", None)
    for name, retain in (("keeps", Retain.FULL), ("hides", Retain.METADATA)):
        relay.submit(a_submission(name, request={"prompt": "語"}, retain=retain))
    fill_index(relay)
    assert len(marked(store, mark)) == 1 and len(marked(store, owner_mark("admin"))) == 2
    assert store.read(lambda tx: tx._run("SELECT count(*) FROM search_jobs WHERE opaque = 1", ()))[0][0] == 1  # type: ignore[attr-defined]
    for claimed in relay.execution.claim("w", limit=2):
        relay.execution.sending(claimed)
        relay.execution.complete(claimed, a_completion())
    fill_index(relay)
    for sent in relay.deliveries.claim("w", limit=2):
        relay.deliveries.record_attempt(sent, Reply(status=200, ms=1))
    assert store.read(lambda tx: tx._run("SELECT count(*) FROM search_jobs WHERE opaque = 1", ()))[0][0] == 0  # type: ignore[attr-defined]
    purge(store, 4e9)
    fill_index(relay)

    assert marked(store, mark) == marked(store, owner_mark("admin")) == []
    assert store.read(lambda tx: tx._run("SELECT no FROM search_gone", ())) in ([], ())  # type: ignore[attr-defined]


def test_a_job_that_is_purged_while_it_is_indexed_leaves_nothing(relay: Relay, store: Store) -> None:
    relay.submit(a_submission("r", webhook_url=None))
    relay.cancel(JobRef(request_id="r"))
    step = relay.search_index._prepare()
    purge(store, 4e9)
    relay.search_index._save(step)

    assert len(step.entries) == 1 and marked(store, owner_mark("admin")) == []


def test_a_step_that_another_worker_has_done_is_dropped(relay: Relay, store: Store) -> None:
    relay.submit(a_submission("r"))
    step = relay.search_index._prepare()
    relay.search_index._save(step)
    relay.submit(a_submission("s"))
    fill_index(relay)
    position = store.read(lambda tx: tx.search_position())
    relay.search_index._save(step)

    assert store.read(lambda tx: tx.search_position()) == position
    assert len(marked(store, owner_mark("admin"))) == 2


def test_too_many_jobs_without_entries_are_read_as_before(
    relay: Relay, named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where no worker has run for long."""
    monkeypatch.setattr(module, "_UNINDEXED", 5)
    for number in range(9):
        relay.submit(a_submission(f"r-{number}", request={"prompt": "needle"}))

    assert len(all_pages(relay, JobFilter(text="needle"))) == 9
    assert named == []


def test_a_damaged_index_is_not_used_and_is_made_anew(tmp_path: Path, named: list[str]) -> None:
    """SQLite: the search reads the jobs as long."""
    store = SqliteStore(tmp_path / "relay.db")
    relay = Relay(store, QuietNotifier(), Policy())
    for number in range(30):
        relay.submit(a_submission(f"r-{number:02}", request={"prompt": "needle" if number < 3 else "nothing"}))
    fill_index(relay)
    store.write(lambda tx: tx._run("UPDATE search_docs_data SET block = x'ffffffffffffffffffffff' WHERE id = 10", ()))  # type: ignore[attr-defined]
    store._readers.get_nowait().close()  # what it has read is not read again
    expected = ["r-02", "r-01", "r-00"]
    assert all_pages(relay, JobFilter(text="needle")) == expected and named == []
    relay.submit(a_submission("new"))
    fill_index(relay)
    fill_index(relay)
    assert all_pages(relay, JobFilter(text="needle")) == expected and len(named) == 3
    relay.close()


def test_an_index_that_a_crash_of_the_server_has_emptied_is_filled_again(named: list[str]) -> None:
    """PostgreSQL keeps it out of the write-ahead log; meanwhile the jobs are read, as always on a standby."""
    with Cluster(durable=True) as cluster:
        url = cluster.start().database()
        store = PostgresStore(url, where="the test's")
        relay = Relay(store, QuietNotifier(), Policy())
        for number in range(30):
            relay.submit(a_submission(f"r-{number:02}", request={"prompt": "needle" if number < 3 else "nothing"}))
        fill_index(relay)
        cluster.restart("immediate")
        assert store.read(lambda tx: tx.search_position()) == 0
        expected = ["r-02", "r-01", "r-00"]
        assert all_pages(relay, JobFilter(text="needle")) == expected
        named.clear()
        fill_index(relay)
        assert all_pages(relay, JobFilter(text="needle")) == expected and len(named) == 3
        relay.close()
        cluster.stop()
        (cluster._data / "standby.signal").touch()
        cluster.start()
        store = PostgresStore(url, where="the test's", create=False)
        relay = Relay(store, QuietNotifier(), Policy())
        named.clear()
        assert all_pages(relay, JobFilter(text="needle")) == expected and named == []
        relay.close()


def test_the_index_adds_nothing_to_the_write_ahead_log_of_a_job(postgres: Cluster) -> None:
    """Two commits a step, as of any transaction (issue 14.1: at most 6 kB a job)."""
    with postgres.place() as url:
        store = PostgresStore(url, where="the test's")
        relay = Relay(store, QuietNotifier(), Policy())
        relay.submit_many([a_submission(f"r-{number}", request={"prompt": "word " * 99}) for number in range(150)])
        position = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
        [(start,)] = postgres.run(position, url=url)
        fill_index(relay)
        [(end,)] = postgres.run(position, url=url)
        relay.close()

    assert end - start < 150 * 50


def test_large_texts_are_read_one_by_one(relay: Relay, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones together: a distant server answers once for all of them."""
    for number, size in enumerate((10, 10, 3_000, 10, 3_000, 3_000, 10)):
        relay.submit(a_submission(f"r-{number}", request={"prompt": "x" * size}))
    monkeypatch.setattr("claude_relay.services.search_index._BYTES", 2_000)
    read: list[int] = []
    original = SearchIndexReads.indexable

    def note(tx: SearchIndexReads, job_ids: Sequence[str]) -> dict[str, Any]:
        read.append(len(job_ids))
        return original(tx, job_ids)

    monkeypatch.setattr(SearchIndexReads, "indexable", note)
    fill_index(relay)

    assert read == [2, 1, 1, 1, 1, 1]
    assert len(marked(store, owner_mark("admin"))) == 7
