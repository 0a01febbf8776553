"""The work of a statement: the same with few jobs and with many, for every use case that is repeated."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from claude_relay.core.jobs.failure import ErrorType
from claude_relay.core.jobs.job import State
from claude_relay.core.policy import Policy
from claude_relay.core.search_index import ERA_JOBS
from claude_relay.errors import Conflict
from claude_relay.ports import JobFilter, Store
from claude_relay.services import JobRef, Relay, search
from claude_relay.storage.folding import fold
from claude_relay.storage.postgres import PostgresStore
from claude_relay.storage.postgres.dialect import to_parameters, translate
from claude_relay.storage.sql import job_filter
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_submission
from tests.support.many_jobs import fill, purge
from tests.support.postgres import Cluster
from tests.support.together import wait_until_idle

_SMALL, _LARGE, _PROOF = (4_800, 1_200), (12_000, 4_000), (1_000_000, 100_000)

#: The end of a name whose number is of pages.
PAGES = ", pages"


class CountedSqlite(SqliteStore):
    """Counts the steps of SQLite's virtual machine."""

    work = 0

    def _connect(self) -> apsw.Connection:
        connection = super()._connect()
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._count)
        self.__dict__.setdefault("connections", []).append(connection)
        return connection

    def pages(self) -> int:
        """Pages that its open connections have read, also from their memory: the index of searches has no steps."""
        kinds = (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS)
        return sum(each.status(kind)[0] for each in self.__dict__["connections"] for kind in kinds)

    def _count(self, event: dict[str, Any]) -> None:
        steps = event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]
        if "'main'." in event["sql"]:  # one of the search index itself, whose steps are a sum over its lifetime
            before = self.__dict__.setdefault("sums", {})
            steps, before[event["id"]] = steps - before.get(event["id"], 0), steps
        CountedSqlite.work += steps


def use_cases(relay: Relay, waiting: int) -> dict[str, Callable[[], Any]]:
    """What callers, workers and operators do all the time."""
    queries = relay.queries
    return {
        "submit": lambda: relay.submit(a_submission()),
        "duplicate": lambda: relay.submit(a_submission("done-0000000003", body_hash="hash of done")),
        "claim": lambda: relay.execution.claim("w", limit=4),
        "claim of deliveries": lambda: relay.deliveries.claim("w", limit=4),
        "status of the first that waits": lambda: queries.status(JobRef(request_id="waits-0000000001")),
        "status of the last that waits": lambda: queries.status(JobRef(request_id=f"waits-{waiting - 1:010}")),
        "status of one that ended": lambda: queries.status(JobRef(request_id="done-0000000003")),
        "overview": queries.overview,
        "summary": queries.queue_summary,
        "metrics": lambda: relay.metrics.snapshot(100),
        "list": lambda: queries.jobs(JobFilter(limit=20)),
        "list of a key": lambda: queries.jobs(JobFilter(limit=20, owner="admin")),
        "list of a key without jobs": lambda: queries.jobs(JobFilter(limit=20, owner="nobody")),
        "list of failed": lambda: queries.jobs(JobFilter(limit=20, states=(State.FAILED, State.CANCELLED))),
        "list of dead deliveries of a key without jobs": lambda: queries.jobs(
            JobFilter(limit=20, owner="nobody", dead=True)
        ),
        "list of a group": lambda: queries.jobs(JobFilter(limit=20, group="default")),
        **searches(relay),
        **lists(relay),
        "calls in flight": relay.dashboard.calls_in_flight,
        "load of groups": relay.dashboard.groups,
        "held": relay.dashboard.held,
        "counts of a key": lambda: relay.dashboard.counts(owner="admin"),
        "history of an hour without an end": lambda: relay.dashboard.history(seconds=-60),
        "deadlines": relay.maintenance.expire,
        "fallbacks": relay.maintenance.apply_fallbacks,
        "purge": relay.maintenance.purge,
        "clock": queries.clock_problem,
        "readiness": queries.readiness_problems,
    }


def searches(relay: Relay) -> dict[str, Callable[[], Any]]:
    """Texts that most jobs have, that the newest jobs may lack, that one job has, and that none has."""
    return {
        f"search for a text of {name}": lambda filters=filters: relay.queries.jobs(JobFilter(limit=20, **filters))
        for name, filters in {
            "most jobs": {"text": "HEI"},
            "most jobs, of a key": {"text": "HEI", "owner": "admin"},
            "most jobs, of a key without jobs": {"text": "HEI", "owner": "nobody"},
            "jobs that ended": {"text": "KR 100"},
            "one job": {"text": "Zebra"},
            "no job": {"text": "Giraffe"},
            "no job, of a key": {"text": "Giraffe", "owner": "admin"},
            "no job, with a state": {"text": "Giraffe", "states": (State.FAILED,)},
        }.items()
    }


#: Filters that select no job alone, and values that many jobs have, but not together.
_NOTHING: dict[str, dict[str, Any]] = {
    "group": {"group": "none"},
    "key": {"key": "nobody"},
    "model": {"model": "none"},
    "host": {"host": "nowhere.example"},
    "error": {"errors": (ErrorType.REFUSED,)},
    "errors": {"errors": (ErrorType.REFUSED, ErrorType.CHECKS)},
    "state": {"states": (State.CANCELLED,)},
    "held": {"states": (State.HELD,)},
    "since": {"since": 4e9},
    "until": {"until": 1.0},
}
_NEVER_TOGETHER: dict[str, dict[str, Any]] = {
    "host and state": {"host": "bad.example", "states": (State.COMPLETED,)},
    "host and error": {"host": "done.example", "errors": (ErrorType.UPSTREAM,)},
    "dead and host": {"host": "done.example", "dead": True},
    "dead and state": {"states": (State.COMPLETED,), "dead": True},
    "error and state": {"errors": (ErrorType.UPSTREAM,), "states": (State.COMPLETED,)},
    "state and group": {"states": (State.CANCELLED,), "group": "default"},
    "host, error and group": {"host": "done.example", "errors": (ErrorType.UPSTREAM,), "group": "default"},
}


def lists_of_nothing() -> dict[str, dict[str, Any]]:
    """Filters without a match: by one, by each two of them, and by values that only other jobs have."""
    filters = dict(_NEVER_TOGETHER)
    many: dict[str, dict[str, Any]] = {
        "owner": {"owner": "admin"},
        "a group": {"group": "default"},
        "a model": {"model": "claude-sonnet-5-5"},
        "a host": {"host": "done.example"},
        "a state": {"states": (State.COMPLETED,)},
        "dead": {"dead": True},
        "an age": {"since": 1.0},
    }
    for name, none in _NOTHING.items():
        filters[name] = none
        filters |= {f"{name}, {other}": {**which, **none} for other, which in many.items()}

    return {f"list of nothing by {name}": which for name, which in filters.items()}


def lists(relay: Relay) -> dict[str, Callable[[], Any]]:
    """A page of each of them."""
    return {
        name: lambda which=which: relay.queries.jobs(JobFilter(limit=20, **which))
        for name, which in lists_of_nothing().items()
    }


def fill_with_index(relay: Relay, store: Store, *, finished: int, waiting: int) -> None:
    """Jobs of which one has a rare text, and the index of them."""
    fill(relay, store, finished=finished, waiting=waiting)
    relay.submit(a_submission("rare", request={"prompt": "A zebra"}))
    while relay.search_index.step():
        pass


@contextlib.contextmanager
def new_database(postgres: Cluster) -> Iterator[str]:
    """The address of an empty database. In one that was used before, indexes have entries of deleted rows."""
    url = postgres.database()
    try:
        yield url
    finally:
        postgres.drop(url)


def measured(relay: Relay, waiting: int, count: Callable[[], int]) -> Counter[str]:
    works: Counter[str] = Counter()
    for name, work in use_cases(relay, waiting).items():
        work()  # reads what is cached for a moment
        before = count()
        work()
        works[name] = count() - before
    return works


def compare(small: Counter[str], large: Counter[str], *, newest: int, eras: int = 0) -> list[str]:
    """
    Those that grow; a level more of an index is no growth. Of a million rows it is one or two levels more.

    Jobs that ended are among the newest ones by chance; PostgreSQL reads up to two eras of entries else. A list looks
    at the 225 newest jobs, which are of different kinds: up to `newest`. A search without a match reads two rows for
    each of PostgreSQL's `eras`, of 4,096 jobs.
    """
    most = {name: (2 if name.endswith(PAGES) else 1.3) * few + 40 for name, few in small.items()}
    most["search for a text of jobs that ended"] += 4 * ERA_JOBS
    most["search for a text of no job"] += 2 * eras
    for name in lists_of_nothing():
        most[name] += newest
    return [f"{name}: {small[name]} {large[name]}" for name in small if large[name] > most[name]]


def relay_on(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(delivery_delay=0.0, max_queue=10**9))


@pytest.fixture
def sizes(request: pytest.FixtureRequest) -> tuple[tuple[int, int], tuple[int, int]]:
    """Finished and waiting jobs of the two stores; with --proof a million."""
    return _SMALL, _PROOF if request.config.getoption("proof") else _LARGE


def test_no_use_case_visits_more_rows_with_many_jobs_on_sqlite(tmp_path: Path, sizes: Any) -> None:
    """Steps of the virtual machine, at 6,000 jobs and at 16,000."""
    works = []
    for finished, waiting in sizes:
        store = CountedSqlite(tmp_path / f"{finished}.db")
        relay = relay_on(store)
        fill_with_index(relay, store, finished=finished, waiting=waiting)
        works.append(measured(relay, waiting, lambda: CountedSqlite.work))
        for name, search_for in searches(relay).items():
            before = store.pages()
            search_for()
            works[-1][f"{name}{PAGES}"] = store.pages() - before
        relay.close()

    assert compare(*works, newest=8_000) == []


def test_no_use_case_visits_more_rows_with_many_jobs_on_postgres(postgres: Cluster, sizes: Any) -> None:
    """Rows that the server reads from tables and indexes, at 6,000 jobs and at 16,000."""
    works = []
    for finished, waiting in sizes:
        with new_database(postgres) as url:
            store = PostgresStore(url, where="the test's")
            relay = relay_on(store)
            fill_with_index(relay, store, finished=finished, waiting=waiting)
            postgres.run("VACUUM ANALYZE", url=url)
            works.append(measured(relay, waiting, lambda store=store, url=url: rows_read(store, postgres, url)))
            relay.close()

    # A list without a match looks into each era of the index, once for each error that is asked for.
    eras = sizes[1][0] // ERA_JOBS
    assert compare(*works, newest=500 + 3 * eras, eras=eras) == []


_SELECTIVE: dict[str, dict[str, Any]] = {
    "host": {"host": "nowhere.example"},
    "host, ended": {"host": "nowhere.example", "states": (State.COMPLETED, State.FAILED)},
    "host of a key": {"host": "nowhere.example", "owner": "admin"},
    "model": {"model": "none"},
    "error": {"errors": (ErrorType.REFUSED,)},
    "group and state": {"group": "none", "states": (State.COMPLETED,)},
    "group of a key": {"group": "none", "owner": "admin"},
}


@pytest.mark.parametrize("filters", _SELECTIVE.values(), ids=_SELECTIVE.keys())
def test_a_page_without_a_match_reads_no_more_rows_with_many_jobs(
    filled: tuple[Relay, CountedSqlite], filters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever filters are combined; the cursor goes on where the page ended, to the end."""
    monkeypatch.setattr(search, "_ROWS_STEP", 100)
    monkeypatch.setattr(search, "MAX_ROWS", 300)
    relay, _ = filled
    before = CountedSqlite.work
    page = relay.queries.jobs(JobFilter(limit=5, **filters))
    steps = CountedSqlite.work - before
    cursor, pages = page.cursor, 1
    monkeypatch.setattr(search, "_ROWS_STEP", 2_000)
    monkeypatch.setattr(search, "MAX_ROWS", 4_000)
    while cursor is not None:
        page = relay.queries.jobs(JobFilter(limit=5, before=cursor, **filters))
        cursor, pages = page.cursor, pages + 1
        assert page.jobs == []

    assert pages > 1
    assert steps < 300 * 8 * 30, f"{steps} steps for 300 rows"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Relay, CountedSqlite]]:
    """Jobs of a thirtieth of a million."""
    store = CountedSqlite(tmp_path_factory.mktemp("filled") / "relay.db")
    relay = relay_on(store)
    fill(relay, store, finished=16_000, waiting=1_000)
    yield relay, store
    relay.close()


def test_a_page_without_a_match_reads_few_rows_on_postgres(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the server's own count, with statistics and many jobs."""
    monkeypatch.setattr(search, "_ROWS_STEP", 100)
    monkeypatch.setattr(search, "MAX_ROWS", 300)
    with postgres.place() as url:
        store = PostgresStore(url, where="the test's")
        relay = relay_on(store)
        fill(relay, store, finished=16_000, waiting=1_000)
        postgres.run("VACUUM ANALYZE", url=url)
        works = {}
        for name, filters in _SELECTIVE.items():
            before = rows_read(store, postgres, url)
            relay.queries.jobs(JobFilter(limit=5, **filters))
            works[name] = rows_read(store, postgres, url) - before
        relay.close()

    assert {name: work for name, work in works.items() if work > 300 * 8 * 4} == {}


def pages_read(url: str, which: JobFilter) -> int:
    """Pages of tables and indexes that the server reads for the ids of a list."""
    sql, args = job_filter.newest(which)
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("SET enable_seqscan = off")
        text = psycopg.ClientCursor(connection).mogrify(translate(sql), to_parameters(args))
        [([explained],)] = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}").fetchall()

    return int(explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"])


def test_pages_of_a_selective_filter_have_every_match_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On both engines, with pages that end after some rows."""
    monkeypatch.setattr(search, "_ROWS_STEP", 7)
    monkeypatch.setattr(search, "MAX_ROWS", 14)
    relay = relay_on(store)
    fill(relay, store, finished=100, waiting=20)
    for number in range(3):
        relay.submit(a_submission(f"mine-{number}", group="rare"), owner="someone")
    filters: list[tuple[dict[str, Any], int]] = [
        ({"host": "bad.example"}, 5),
        ({"host": "bad.example", "states": (State.FAILED,), "owner": "admin"}, 5),
        ({"host": "bad.example", "states": (State.COMPLETED,)}, 0),
        ({"group": "rare", "states": (State.QUEUED, State.FAILED)}, 3),
        ({"group": "rare", "owner": "someone"}, 3),
        ({"dead": True, "owner": "admin"}, 5),
        ({"dead": True, "states": (State.COMPLETED,)}, 0),
        ({"owner": "someone", "key": "admin"}, 0),
        ({"errors": (ErrorType.UPSTREAM,), "group": "default"}, 5),
    ]
    counts = [len(all_pages(relay, JobFilter(limit=2, **each))) for each, _ in filters]
    relay.close()

    assert counts == [count for _, count in filters]


def all_pages(relay: Relay, which: JobFilter) -> set[str]:
    names: list[str] = []
    while True:
        page = relay.queries.jobs(which)
        names += [job["requestId"] for job in page.jobs]
        if page.cursor is None:
            assert len(names) == len(set(names))
            return set(names)
        which = replace(which, before=page.cursor)


def test_a_list_of_a_key_follows_its_index_whatever_the_planner_expects(postgres: Cluster) -> None:
    """Where that index looks dear, as a bloated one does, jobs of other states are not read on the way."""
    with postgres.place() as url:
        name = url.rpartition("/")[2]
        store = PostgresStore(url, where="the test's")
        relay = relay_on(store)
        fill(relay, store, finished=4_000, waiting=2_000)
        postgres.run("VACUUM ANALYZE", url=url)
        postgres.run(f"ALTER DATABASE {name} SET enable_indexonlyscan = off")
        try:
            store._readers.drop()
            before = rows_read(store, postgres, url)
            page = store.read(lambda tx: tx.jobs(JobFilter(limit=5, owner="admin", states=(State.COMPLETED,))))
            rows = rows_read(store, postgres, url) - before
        finally:
            postgres.run(f"ALTER DATABASE {name} RESET enable_indexonlyscan")
        few = {state: pages_read(url, JobFilter(limit=20, owner="admin", states=(state,))) for state in State}
        relay.close()

    assert len(page) == 5
    assert rows < 200
    assert {state: pages for state, pages in few.items() if pages > 24} == {}, "to none of its jobs, too"


def rows_read(store: PostgresStore, postgres: Cluster, url: str) -> int:
    """The server's own count; each session hands it over when it is asked to."""
    store._session.connection.execute("SELECT pg_stat_force_next_flush()")
    with store._readers.connection() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
    tables = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables"
    [(rows,)] = postgres.run(f"SELECT ({tables}) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)", url=url)
    return int(rows)


def test_numbers_are_what_a_count_returns(store: Store) -> None:
    """After submits, ends, retries, deliveries and a purge, before and after a fold."""
    relay = relay_on(store)
    fill(relay, store, finished=40, waiting=20)
    relay.submit(a_submission("again", webhook_url="https://done.example/"), owner="someone")
    relay.cancel(JobRef(request_id="again"))
    relay.retry(JobRef(request_id="done"))
    for claimed in relay.execution.claim("w", limit=3):
        relay.execution.release(claimed)
    with pytest.raises(Conflict):
        relay.cancel(JobRef(request_id="bad"))
    late = 4e9
    assert purge(store, late) > 9
    for _ in range(2):
        assert store.read(kept_numbers) == store.read(counted_numbers)
        wait_until_idle(store)
        fold(store._writer._session)
    rows = store.read(
        lambda tx: tx._run("SELECT count(*), count(DISTINCT kind || state || grp || owner) FROM tallies", ())
    )
    relay.close()

    assert rows[0][0] == rows[0][1]


def kept_numbers(tx: Any) -> dict[tuple[str, ...], int]:
    """As the store keeps them."""
    rows = tx._run("SELECT kind, state, grp, owner, sum(n) FROM tallies GROUP BY kind, state, grp, owner", ())
    return {tuple(row[:4]): int(row[4]) for row in rows if row[4]}


def counted_numbers(tx: Any) -> dict[tuple[str, ...], int]:
    """By a count of the rows."""
    jobs = tx._run("SELECT 'job', state, grp, owner, count(*) FROM jobs GROUP BY state, grp, owner", ())
    deliveries = tx._run("SELECT 'delivery', state, grp, '', count(*) FROM deliveries GROUP BY state, grp", ())
    return {tuple(row[:4]): int(row[4]) for row in (*jobs, *deliveries)}


@pytest.fixture
def clock() -> Callable[[], float]:
    """The real time, for the store."""
    return time.time


def test_a_place_is_exact_up_to_a_thousand_and_then_null(tmp_path: Path) -> None:
    """`waitingFor` then names what is ahead."""
    store = SqliteStore(tmp_path / "relay.db")
    relay = relay_on(store)
    relay.submit_many([a_submission(f"r-{number:04}") for number in range(1002)])
    by_name = {name: relay.queries.status(JobRef(request_id=name)) for name in ("r-0000", "r-0999", "r-1000", "r-1001")}
    listed = relay.queries.jobs(JobFilter(limit=3)).jobs
    relay.pause()
    paused = relay.queries.status(JobRef(request_id="r-1001"))
    relay.close()

    assert [status["position"] for status in by_name.values()] == [1, 1000, None, None]
    many = "more than 1,000 ahead"
    assert [status["waitingFor"] for status in by_name.values()] == [None, None, many, many]
    assert [(job["position"], job["waitingFor"]) for job in listed] == [(None, many), (None, many), (1000, None)]
    assert paused["position"] is None and paused["waitingFor"].endswith(f"; {many}")
