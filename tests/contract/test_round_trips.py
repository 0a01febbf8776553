"""Round trips to a PostgreSQL server while the lock of the fleet is held, counted on the wire."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import PartialResponse
from claude_relay.core.policy import Policy
from claude_relay.core.retention import PurgeCutoffs
from claude_relay.services import Relay
from claude_relay.storage.postgres import PostgresStore
from tests.support.builders import QuietNotifier, a_completion, a_submission
from tests.support.distant_server import DistantServer
from tests.support.postgres import Cluster

_SLOTS = 32
_POLICY = Policy(delivery_delay=0.0)


@pytest.fixture
def distant(postgres: Cluster) -> Iterator[DistantServer]:
    with DistantServer(postgres.port) as server:
        yield server


@pytest.fixture
def place(postgres: Cluster) -> Iterator[str]:
    with postgres.place() as url:
        yield url


def open_relay(url: str) -> Relay:
    return Relay(PostgresStore(url, where="the test's"), QuietNotifier(), _POLICY)


def side_by_side(works: Sequence[Callable[[], Any]], failed: threading.Event) -> None:
    """Run all at the same time, each in a thread; sets `failed` and raises the first error."""
    errors: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as exc:
            errors.append(exc)
            failed.set()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    if errors:
        raise errors[0]


def trips(distant: DistantServer, work: Callable[[], Any]) -> int:
    before = distant.trips
    work()
    return distant.trips - before


class Fleet:
    """Two APIs that accept jobs under their callers' ids, and two workers with their slots and senders."""

    def __init__(self, url: str, jobs: int) -> None:
        self.apis = [open_relay(url) for _ in range(2)]
        self.workers = [open_relay(url) for _ in range(2)]
        self._jobs = jobs
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._done: set[str] = set()
        self._failed = threading.Event()
        self._wakeups = {"w0": threading.Event(), "w1": threading.Event()}

    def run(self) -> None:
        """Until every callback was delivered."""
        parts: list[Callable[[], Any]] = [lambda api=api: self._submit(api) for api in self.apis for _ in range(_SLOTS)]
        for number, relay in enumerate(self.workers):
            parts += [lambda relay=relay, name=f"w{number}": self._slots(relay, name)]
            parts += [lambda relay=relay, name=f"w{number}": self._senders(relay, name)]
        side_by_side(parts, self._failed)

    def close(self) -> None:
        for relay in (*self.apis, *self.workers):
            relay.close()

    @property
    def delivered(self) -> int:
        return len(self._done)

    def _submit(self, api: Relay) -> None:
        while (number := next(self._numbers)) < self._jobs:
            api.submit(a_submission(f"order-{number}", webhook_url=f"https://example.com/{number % 3}"))

    def _slots(self, relay: Relay, name: str) -> None:
        """As the dispatcher: one claim for all free slots, when a job was announced or a call has ended."""
        with ThreadPoolExecutor(_SLOTS) as pool:
            running: set[Future[None]] = set()
            while self.delivered < self._jobs and not self._failed.is_set():
                running -= {call for call in running if call.done()}
                claimed = relay.execution.claim(name, limit=_SLOTS - len(running)) if len(running) < _SLOTS else ()
                running |= {pool.submit(self._call, relay, item) for item in claimed}
                if not claimed:
                    self._wakeups[name].wait(0.5)  # as rarely as the dispatcher sweeps
                    self._wakeups[name].clear()

    def _call(self, relay: Relay, claimed: Any) -> None:
        relay.execution.sending(claimed)
        relay.execution.complete(claimed, a_completion())
        self._wakeups[claimed.call.worker].set()

    def _senders(self, relay: Relay, name: str) -> None:
        with ThreadPoolExecutor(_SLOTS) as pool:
            sending: set[Future[None]] = set()
            while self.delivered < self._jobs and not self._failed.is_set():
                sending -= {post for post in sending if post.done()}
                free = _SLOTS - len(sending)
                claimed = (
                    relay.deliveries.claim(name, limit=free)
                    if free and relay.deliveries.seconds_until_due() is not None
                    else ()
                )
                sending |= {pool.submit(self._deliver, relay, item) for item in claimed}
                if not claimed:
                    wait(sending, 0.2, FIRST_COMPLETED)

    def _deliver(self, relay: Relay, claimed: Any) -> None:
        assert relay.deliveries.record_attempt(claimed, Reply(status=200, ms=1)).state.value == "delivered"
        with self._lock:
            self._done.add(claimed.delivery.id)


def test_a_job_costs_a_running_fleet_about_three_round_trips_under_its_lock(
    place: str, distant: DistantServer, postgres: Cluster
) -> None:
    """Two APIs with the callers' own ids and two workers, from the submit to the delivered callback."""
    jobs = 400
    fleet = Fleet(distant.url(place), jobs)
    before = distant.trips
    fleet.run()
    spent = distant.trips - before
    fleet.close()

    states = postgres.run("SELECT state, count(*) FROM deliveries GROUP BY state", url=place)
    assert states == [("delivered", jobs)]
    assert spent <= 3 * jobs


def test_each_use_case_takes_two_round_trips(place: str, distant: DistantServer) -> None:
    """BEGIN with the look-ups, and COMMIT with the writes; one more where a look-up follows from another."""
    relay = open_relay(distant.url(place))
    held: dict[str, Any] = {}

    def claim() -> None:
        [held["job"]] = relay.execution.claim("w", limit=4)

    def claim_delivery() -> None:
        [held["delivery"]] = relay.deliveries.claim("w", limit=4)

    relay.submit(a_submission())
    relay.execution.claim("w", limit=1)  # it has seen whose jobs wait
    counted = {
        "submit": trips(distant, lambda: relay.submit(a_submission("r", webhook_url="https://example.com/"))),
        "duplicate": trips(distant, lambda: relay.submit(a_submission("r", webhook_url="https://example.com/"))),
        "claim": trips(distant, claim),
        "sending": trips(distant, lambda: relay.execution.sending(held["job"])),
        "checkpoint": trips(distant, lambda: relay.execution.checkpoint(held["job"], PartialResponse(text="half"))),
        "complete": trips(distant, lambda: relay.execution.complete(held["job"], a_completion())),
    }
    relay.deliveries.seconds_until_due()
    counted["claim of a delivery"] = trips(distant, claim_delivery)
    counted["attempt"] = trips(
        distant, lambda: relay.deliveries.record_attempt(held["delivery"], Reply(status=200, ms=1))
    )
    relay.close()

    assert counted == dict.fromkeys(counted, 2) | {"claim": 3, "claim of a delivery": 3}


def test_a_step_of_the_purge_takes_as_many_round_trips_for_forty_jobs_as_for_two(
    place: str, distant: DistantServer
) -> None:
    """A statement a table, not a job: with one for each the fleet waited fifty trips for each step."""
    relay = open_relay(distant.url(place))

    def purge(count: int) -> int:
        relay.submit_many([a_submission(f"r-{count}-{number}", webhook_url=None) for number in range(count)])
        for claimed in relay.execution.claim("w", limit=count):
            relay.execution.complete(claimed, a_completion())
        cutoffs = PurgeCutoffs(done_before=4e9, failed_before=4e9)
        jobs, _ = relay._store.read(lambda tx: tx.purgeable(cutoffs, after=(-1.0, ""), limit=99))
        assert len(jobs) == count
        return trips(distant, lambda: relay._store.write(lambda tx: tx.purge(jobs, cutoffs, size=2**20)))

    purge(1)
    few, many = purge(2), purge(40)
    relay.close()

    assert few == many <= 7


def test_updates_of_no_indexed_column_stay_in_their_page(place: str, postgres: Cluster) -> None:
    """HOT updates: marks, checkpoints and renewals write no index, as pages keep some space for them."""
    relay = open_relay(place)
    jobs = 300
    relay.submit_many([a_submission(f"r-{number}") for number in range(jobs)])
    claimed = relay.execution.claim("w", limit=jobs)
    before = updates(relay, postgres, place)
    for item in claimed:
        relay.execution.sending(item)
    for _ in range(2):
        relay.execution.renew("w", claimed)
    for item in claimed[:100]:
        for text in ("one", "one two"):
            relay.execution.checkpoint(item, PartialResponse(text=text))
    counted = updates(relay, postgres, place)
    relay.close()
    made, hot = (counted[kind] - before[kind] for kind in ("made", "hot"))

    assert made >= 3 * jobs
    assert hot >= 0.8 * made


def updates(relay: Relay, postgres: Cluster, url: str) -> dict[str, int]:
    """The server's own counts, which the writing session hands over when it is asked to."""
    store: Any = relay._store
    store._session.connection.execute("SELECT pg_stat_force_next_flush()")
    sql = """SELECT sum(n_tup_upd), sum(n_tup_hot_upd) FROM pg_stat_user_tables
             WHERE relname IN ('jobs', 'calls', 'partials')"""
    [(made, hot)] = postgres.run(sql, url=url)
    return {"made": int(made), "hot": int(hot)}
