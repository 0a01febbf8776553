"""The contract of the Store port, for every engine."""

from __future__ import annotations

import json
import multiprocessing
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply, destination_of
from claude_relay.core.deliveries.transitions import claim as claim_delivery
from claude_relay.core.deliveries.transitions import open_delivery
from claude_relay.core.files.uploaded import UploadedFile
from claude_relay.core.jobs import transitions
from claude_relay.core.jobs.failure import ErrorType, PartialResponse, Remedy
from claude_relay.core.jobs.job import Lease
from claude_relay.core.jobs.submission import encode_long_prompt
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict, StoreUnavailable
from claude_relay.ports import JobFilter, Store
from claude_relay.services import JobRef, Relay
from claude_relay.services.clock_step import read_clocks
from claude_relay.storage.folding import fold
from claude_relay.storage.sqlite import connection
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission
from tests.support.places import Place, open_at
from tests.support.together import wait_until_idle


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy())


@pytest.fixture(autouse=True)
def no_lock_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many writers on a busy machine hold SQLite's lock for longer than one waits for it."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT", 60.0)


def _claim_all(place: Place, name: str, out: multiprocessing.Queue) -> None:
    connection.BUSY_TIMEOUT = 60.0
    relay = Relay(open_at(place), QuietNotifier(), Policy())
    mine = []
    while claimed := relay.execution.claim(name, limit=7):
        mine += [item.job.id for item in claimed]
    relay.close()
    out.put(mine)


def test_a_failed_write_rolls_back_only_itself(relay: Relay, store: Store) -> None:
    """Other writes in its group commit are stored."""
    started, results = threading.Event(), {}

    def hold(tx):
        started.set()
        time.sleep(0.1)  # while the others queue up behind it

    def bad(tx):
        tx.set_shared_value("bad", 1)
        raise ZeroDivisionError

    def run(name, work):
        try:
            results[name] = store.write(work)
        except ZeroDivisionError as exc:
            results[name] = exc

    threads = [threading.Thread(target=run, args=("hold", hold))]
    threads[0].start()
    assert started.wait(60)
    works = {"a": lambda tx: tx.set_shared_value("a", 1), "bad": bad, "b": lambda tx: tx.set_shared_value("b", 1)}
    threads += [threading.Thread(target=run, args=item) for item in works.items()]
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert isinstance(results["bad"], ZeroDivisionError)
    assert [store.read(lambda tx, key=key: tx.shared_value(key)) for key in ("a", "b", "bad")] == [1, 1, None]


def test_a_read_transaction_is_consistent(store: Store) -> None:
    """A commit during the transaction is not visible in it."""

    def look(tx):
        before = tx.shared_value("a")
        store.write(lambda tx: tx.set_shared_value("a", 1))
        return before, tx.shared_value("a")

    assert store.read(look) == (None, None)
    assert store.read(lambda tx: tx.shared_value("a")) == 1


def test_an_outdated_version_is_a_conflict(relay: Relay, store: Store) -> None:

    relay.submit(a_submission("r-1"))
    job = store.read(lambda tx: tx.find("r-1", None)[0])
    change = transitions.cancel(job, now=1.0)
    relay.cancel(JobRef(request_id="r-1"))
    with pytest.raises(Conflict):
        store.write(lambda tx: tx.save(change))


def test_four_processes_never_claim_one_job_twice(place: Place) -> None:
    relay = Relay(open_at(place), QuietNotifier(), Policy())
    relay.submit_many([a_submission() for _ in range(400)])
    relay.close()
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    processes = [context.Process(target=_claim_all, args=(place, f"w{n}", out)) for n in range(4)]
    for process in processes:
        process.start()
    taken = [job for _ in processes for job in out.get(timeout=100)]
    for process in processes:
        process.join(60)

    assert len(taken) == len(set(taken)) == 400


def test_positions_of_a_page_are_counted_in_one_pass_over_the_queue(store: Store, relay: Relay, clock: Clock) -> None:
    """Each position is right, whatever the job's priority, and none is counted again from the front."""
    for number, priority in enumerate((0, 30, 0, 500)):
        clock.advance(1)
        relay.submit(a_submission(f"r-{number}", priority=priority))
    relay.submit(a_submission("batched", mode="batch"))
    counted: list[tuple[float, float]] = []

    class Spy(type(store)):  # type: ignore[misc]
        def read(self, look):
            def spied(tx):
                real = tx.count_ahead
                tx.count_ahead = lambda job, flows, after=None, *, limit: (
                    counted.append((after.rank if after else 0, job.rank)) or real(job, flows, after, limit=limit)
                )
                return look(tx)

            return super().read(spied)

    store.__class__ = Spy
    jobs = relay.queries.jobs(JobFilter(limit=50)).jobs

    assert {job["requestId"]: job["position"] for job in jobs} == {
        "r-3": 1, "r-1": 2, "r-0": 3, "r-2": 4, "batched": None
    }  # fmt: skip
    assert [begin for begin, _ in counted[1:]] == [end for _, end in counted[:-1]]


def test_the_purge_lets_others_write_between_large_jobs(relay: Relay, clock: Clock) -> None:
    """Erased content is overwritten: a step ends after enough bytes, whatever the number of jobs."""
    for number in range(4):
        relay.submit(a_submission(f"r-{number}", request={"prompt": "x" * 2**20}, webhook_url=None))
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.complete(claimed, a_completion())
        clock.advance(1)
    for number in range(4):
        relay.submit(a_submission(f"s-{number}", webhook_url=None))
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.complete(claimed, a_completion())
    clock.advance(25 * 3600)
    steps: list[int] = []

    assert relay.maintenance.purge(step_done=lambda: steps.append(relay.queries.overview()["jobs"]["completed"])) == 8
    assert steps == [7, 6, 5, 4, 0]


@pytest.mark.parametrize(("seconds_a_job", "largest"), [(0.0, 128), (0.0008, 16)])
def test_the_purge_takes_steps_of_a_bounded_time(
    relay: Relay, store: Store, clock: Clock, seconds_a_job: float, largest: int
) -> None:
    """A step that was short is followed by one twice as large, and one that took too long by one half as large."""
    names = [f"r-{number}" for number in range(300)]
    relay.submit_many([a_submission(name, webhook_url=None, deadline_at=clock() + 1) for name in names])
    clock.advance(2)
    while relay.maintenance.expire():
        pass
    clock.advance(31 * 86400)
    maintenance, sizes, paused, seconds = relay.maintenance, [], [], [0.0]
    step = maintenance._purge_step

    def timed_step(jobs: Sequence[str]) -> tuple[int, Sequence[str]]:
        sizes.append(len(jobs))
        seconds[0] += 0.001 + seconds_a_job * len(jobs)
        return step(jobs)

    maintenance._purge_step = timed_step  # type: ignore[method-assign,assignment]
    maintenance._clock, maintenance._sleep = (lambda: seconds[0]), paused.append

    assert maintenance.purge() == 300
    assert sizes[:4] == [8, 16, 32, 64] if not seconds_a_job else [8, 16, 16, 16]
    assert max(sizes) == largest
    assert paused[0] == pytest.approx(0.001 + seconds_a_job * 8)


def test_unfinished_and_undelivered_jobs_are_never_purged(relay: Relay, clock: Clock) -> None:
    relay.submit(a_submission("waiting", deadline_at=clock() + 400 * 86400))
    relay.submit(a_submission("undelivered"))
    [claimed] = [item for item in relay.execution.claim("w", limit=2) if item.job.request_id == "undelivered"]
    relay.execution.complete(claimed, a_completion())
    clock.advance(365 * 86400)

    assert relay.maintenance.purge() == 0


def test_an_uploaded_file_is_shared_until_shortly_before_it_expires(
    relay: Relay, store: Store, place: Place, clock: Clock
) -> None:
    """For one API key only; and deleting it does not delete the file that replaced it meanwhile."""
    old = UploadedFile(account="a", sha256="s", file_id="f1", size=9, expires_at=clock() + 3600)
    new = replace(old, file_id="f2")
    relay.uploaded_files.save(old)
    other = open_at(place, clock)
    elsewhere = Relay(other, QuietNotifier(), Policy())

    assert (elsewhere.uploaded_files.find("a", "s"), elsewhere.uploaded_files.find("b", "s")) == (old, None)
    relay.uploaded_files.save(new)
    elsewhere.uploaded_files.delete(old)
    assert relay.uploaded_files.find("a", "s") == new
    elsewhere.uploaded_files.delete(new)
    assert relay.uploaded_files.find("a", "s") is None
    relay.uploaded_files.save(new)
    clock.advance(3000)
    assert relay.uploaded_files.find("a", "s") is None
    other.close()


def test_events_are_numbered_in_commit_order(place: Place) -> None:
    """A reader that follows the cursor misses none, however many stores write at once."""
    stores = [open_at(place) for _ in range(3)]
    relays = [Relay(store, QuietNotifier(), Policy()) for store in stores]
    seen: list[str] = []
    done = threading.Event()

    def follow() -> None:
        cursor = 0
        while True:
            last = done.is_set()
            moves, cursor = relays[0].queries.events_after(cursor, limit=50)
            seen.extend(move["requestId"] for move in moves)
            if last and not moves:
                return

    def write(number: int) -> None:
        for turn in range(20):
            relays[number % 3].submit(a_submission(f"r-{number}-{turn}"))

    follower = threading.Thread(target=follow)
    follower.start()
    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    follower.join(60)
    for relay in relays:
        relay.close()

    assert sorted(seen) == sorted(f"r-{number}-{turn}" for number in range(6) for turn in range(20))


def test_concurrent_submissions_of_one_request_id_are_one_job(place: Place) -> None:
    stores = [open_at(place) for _ in range(4)]
    relays = [Relay(store, QuietNotifier(), Policy()) for store in stores]
    same = a_submission("once")
    answers = []
    threads = [
        threading.Thread(target=lambda relay=relay: answers.append(relay.submit(same)))
        for relay in relays
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for relay in relays:
        relay.close()

    assert len({answer.job.id for answer in answers}) == 1
    assert [answer.duplicate for answer in answers].count(False) == 1


def test_a_search_of_prompts_and_answers_ignores_case(relay: Relay) -> None:
    """Wildcards of LIKE are taken literally."""
    relay.submit(a_submission("first", request={"prompt": "Was kostet 100% Wolle?"}))
    relay.submit(a_submission("second", request={"prompt": "a_b c:\\d 'quoted'"}))
    [item] = [item for item in relay.execution.claim("w", limit=2) if item.job.request_id == "first"]
    relay.execution.complete(item, a_completion("Zwölf Euro je METER"))

    def found(text: str) -> list[str]:
        return sorted(job["requestId"] for job in relay.queries.jobs(JobFilter(text=text)).jobs)

    assert found("100%") == found("wolle") == found("zwölf euro JE meter") == ["first"]
    assert found("a_B") == found("'QUOTED'") == found("seCond") == ["second"]
    assert found("%") == ["first"] and found("a?b") == []


def test_any_string_is_stored_as_far_as_the_engine_allows(relay: Relay) -> None:
    """Answers may contain anything, also a zero byte; none of it fails a job that was paid for."""
    text = "a\x00b \u00e6 \U0001f600 ' \\ % ? \ufffd"
    relay.submit(a_submission("r", metadata={"odd": text}))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.checkpoint(claimed, PartialResponse(text=text))
    partial = relay.queries.status(JobRef(request_id="r")).get("partialResponse")
    relay.execution.complete(claimed, a_completion(text))
    result = json.loads(relay.queries.result(JobRef(request_id="r")) or b"")

    assert result["response"] == text and result["metadata"] == {"odd": text}
    assert partial in (None, text, text.replace("\x00", "\ufffd"))


def test_a_zero_byte_in_a_text_damages_no_row(relay: Relay, clock: Clock) -> None:
    """CASES S11: PostgreSQL stores another character for it, which is no damage in an error, a part or a repair."""
    failure = a_failure(remedy=Remedy.RETRY, partial="half\0of it")
    schema = a_failure(ErrorType.SCHEMA, partial='{"a":"\0"}', reason="schema")
    for name, first in (("broken", failure), ("schema", schema)):
        relay.submit(a_submission(name, webhook_url="https://hook.example/x"))
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.checkpoint(claimed, PartialResponse(text="half\0of it"))
        relay.execution.fail(claimed, replace(first, message="it was a\0b"))
        waiting = relay.queries.job_details(JobRef(request_id=name))
        assert waiting["status"] == "pending", waiting
        clock.advance(120)
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.fail(claimed, a_failure(remedy=Remedy.FAIL, partial="half\0of it"))
        result = json.loads(relay.queries.result(JobRef(request_id=name)) or b"")
        assert result["partialResponse"].replace("\0", "\ufffd") == "half\ufffdof it"


def test_the_reads_of_the_dashboard(relay: Relay, store: Store, clock: Clock) -> None:
    """Calls in flight, ended jobs of one owner or all, and what waits for each group and destination."""
    for number, owner in enumerate(("make", "other", "make", "make")):
        submission = a_submission(f"r-{number}", group=f"g{number % 2}", webhook_url="https://hook.example/x")
        relay.submit(submission, owner=owner)
        clock.advance(1)
    first, second = (relay.execution.claim("w", limit=1)[0] for _ in range(2))
    running = store.read(lambda tx: tx.running_calls(limit=9))
    assert [(call.request_id, call.owner, call.group, call.worker) for call in running] == [
        (each.job.request_id, each.job.owner, each.job.group, "w") for each in (first, second)
    ]
    assert [call.owner for call in store.read(lambda tx: tx.running_calls(limit=9, owner="other"))] == ["other"]
    assert len(store.read(lambda tx: tx.running_calls(limit=1))) == 1

    clock.advance(10)
    relay.execution.complete(first, a_completion())
    clock.advance(10)
    relay.execution.complete(second, a_completion())
    ended = store.read(lambda tx: tx.finished_jobs(since=0, limit=9))
    assert [job.finished_at - clock.now for job in ended] == [0, -10]
    assert (ended[1].state, ended[1].cost_usd) == (first.job.state.COMPLETED, 0.001)
    owners = ("make", "other", "nobody")
    assert [len(store.read(lambda tx, o=o: tx.finished_jobs(since=0, limit=9, owner=o))) for o in owners] == [1, 1, 0]
    assert store.read(lambda tx: tx.finished_jobs(since=clock.now + 1, limit=9)) == []
    assert [(load.group.name, load.waiting) for load in relay.dashboard.groups()][1:] == [("g0", 1), ("g1", 1)]
    assert store.read(lambda tx: (tx.held_jobs(limit=9), tx.dead_by_destination())) == (0, {})
    assert store.read(lambda tx: tx.latest_url("https://hook.example")) == "https://hook.example/x"
    assert store.read(lambda tx: tx.latest_url("https://other.example")) is None

    for sent in relay.deliveries.claim("w", limit=9):
        relay.deliveries.record_attempt(sent, Reply(status=403))
    assert store.read(lambda tx: tx.dead_by_destination()) == {"https://hook.example": 2}


def test_the_feed_and_the_text_of_calls_are_read_alike(relay: Relay) -> None:
    """Pages by position, one job's events, and the stored text beyond an offset in code points."""
    for name in ("r-1", "r-2"):
        relay.submit(a_submission(name))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.checkpoint(claimed, PartialResponse(text="æ😀b"))
    feed, job = relay.event_feed, claimed.job
    everything = feed.page(0)

    assert [(entry.request_id, entry.event.name.value) for entry in everything] == [
        ("r-1", "submitted"),
        ("r-2", "submitted"),
        ("r-1", "claimed"),
    ]
    assert feed.newest() == everything[-1].seq and feed.page(feed.newest()) == []
    ref = JobRef(request_id="r-1")
    assert [entry.event.version for entry in feed.of_job(ref, everything[0].seq).entries] == [2]
    assert [entry.event.version for entry in feed.of_job(ref, None).entries] == [2]
    call = claimed.call.number
    texts = [feed.texts({job.id: position})[job.id] for position in ((0, 0), (call, 1), (call + 1, 1))]
    assert [(text.call, text.offset, text.text) for text in texts] == [
        (call, 0, "æ😀b"),
        (call, 1, "😀b"),
        (call, 0, "æ😀b"),
    ]
    assert feed.texts({job.id: (call, 3)}) == {}
    assert feed.final_text(job.id) is None
    relay.execution.complete(claimed, a_completion("Svar"))
    final = feed.final_text(job.id)
    assert final is not None and (final.call, final.text) == (call, "Svar")
    assert str(feed.cursor(f"{feed.identity}:3e")) == f"{feed.identity}:3e"


def test_a_reader_of_events_goes_on_from_its_cursor(relay: Relay) -> None:
    """CASES M6: the first read gives the newest events, oldest first; a later one only those after its cursor."""

    def read(cursor: int | None, **options: Any) -> tuple[list[str], int]:
        events, last = relay.queries.events_after(cursor, **({"limit": 2} | options))
        return [f"{event['requestId']} {event['event']}" for event in events], last

    assert read(None) == ([], 0)
    for name in "abc":
        relay.submit(a_submission(name), owner="make" if name == "a" else "admin")
    latest, cursor = read(None)
    assert latest == ["b submitted", "c submitted"]
    assert read(cursor) == ([], cursor)
    assert read(None, owner="make") == (["a submitted"], cursor)

    relay.cancel(JobRef(request_id="b"))
    relay.cancel(JobRef(request_id="c"))
    relay.cancel(JobRef(request_id="a"))
    following, cursor = read(cursor)
    assert following == ["b cancelled", "c cancelled"]
    following, cursor = read(cursor)
    assert following == ["a cancelled"]
    assert read(cursor) == ([], cursor)


def test_a_prepared_submit_is_stored_without_waiting(place: Place) -> None:
    """It is handed over once it is durable; a repeat gets the job that is there, and another body a conflict."""
    relay = Relay(open_at(place), QuietNotifier(), Policy(), read_clocks=read_clocks)
    outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for submission in (a_submission("r-1"), a_submission("r-1"), a_submission("r-1", body_hash="other")):
        prepared = relay.prepare_submit(submission, owner="admin", now=time.time())
        prepared.store(outcomes.put)
    first, repeat, conflict = (outcomes.get(timeout=30) for _ in range(3))
    [stored] = relay.queries.jobs(JobFilter(limit=2)).jobs
    relay.close()

    assert (first.duplicate, repeat.duplicate, first.job.id == repeat.job.id) == (False, True, True)
    assert isinstance(conflict, Conflict)
    assert stored["requestId"] == "r-1"
    prepared.store(outcomes.put)
    assert isinstance(outcomes.get(timeout=30), StoreUnavailable)  # closed


def test_a_request_that_was_encoded_before_is_stored_as_any_other(store: Store, relay: Relay) -> None:
    """Issue 17 item 5: a long prompt comes as UTF-8; the row is the same text, and other jobs of its commit are too."""
    prompt, other = "svar på 1 🙂 " * 2**17, a_submission("r-2")
    long = replace(other, request_id="r-1", request={**other.request, "prompt": prompt}, prompt_length=len(prompt))
    encoded = encode_long_prompt(long)
    assert encoded is not long
    jobs = relay.submit_many([encoded, other, replace(long, request_id="r-3")])
    requests = [store.read(lambda tx, each=each: tx.request(each.job.id)) for each in jobs]  # type: ignore[misc, union-attr]

    assert requests[0].request == requests[2].request == long.request
    assert store.read(lambda tx: tx.options(jobs[0].job.id)) == long.request["options"]  # type: ignore[union-attr]
    [first, *_] = relay.execution.claim("w", limit=3)
    assert first.request.request == long.request


def test_the_texts_of_many_calls_are_read_at_once(relay: Relay) -> None:
    """For lists: stored texts from each one's own position, a bounded part; final ones without long answers."""
    for name in ("r-1", "r-2", "r-3"):
        relay.submit(a_submission(name, group=name))
    first, second, third = relay.execution.claim("w", limit=3)
    relay.execution.checkpoint(first, PartialResponse(text="abc"))
    relay.execution.checkpoint(second, PartialResponse(text="ø" * 70_000))
    feed = relay.event_feed
    ids = [each.job.id for each in (first, second, third)]
    texts = feed.texts({ids[0]: (1, 1), ids[1]: (1, 10), ids[2]: (0, 0)})

    assert {job_id: (text.offset, len(text.text)) for job_id, text in texts.items()} == {
        ids[0]: (1, 2),
        ids[1]: (10, 65_536),
    }
    assert [call.job_id for call in feed.running_calls(owner=None, group="r-2")] == [ids[1]]
    relay.execution.complete(first, a_completion("short"))
    relay.execution.complete(second, a_completion("ø" * 300_000))
    assert {job_id: text.text for job_id, text in feed.final_texts(ids).items()} == {ids[0]: "short"}


def test_the_parts_of_a_sum_of_costs_become_one(relay: Relay, store: Store, place: Place, clock: Clock) -> None:
    """Each process adds to a part of its own; a fold changes no sum, also where no price is known."""
    relay.submit(a_submission("r"))
    [claimed] = relay.execution.claim("w", limit=1)
    call = replace(claimed.call, sent=True, ended_at=1.0, outcome="completed", usage={"input_tokens": 10})
    other = open_at(place, clock)
    for number, usd in enumerate((0.25, None, 0.5, 1.0)):
        ended = replace(call, cost_usd=usd)
        (store, other)[number % 2].write(lambda tx, ended=ended: tx.add_spend("2026-11-30", claimed.job, ended))
    before, rows = store.read(_sums), [store.read(_rows_of_costs)]
    for _ in range(2):
        wait_until_idle(store)
        fold(store._writer._session)
        rows.append(store.read(_rows_of_costs))
        assert store.read(_sums) == before
    other.close()

    assert rows == [2, 1, 1]
    spent, summary = before
    assert (spent, summary.calls, summary.input_tokens, summary.unpriced) == ({"admin": 1.75}, 4, 40, 1)


def _sums(tx: Any) -> tuple[dict[str, float], Any]:
    [(_, summary)] = tx.costs_by_outcome()
    return tx.spent("2026-11-30"), summary


def _rows_of_costs(tx: Any) -> int:
    return int(tx._run("SELECT count(*) FROM costs", ())[0][0])


def test_deliveries_of_a_destination_are_read_from_a_time_on(relay: Relay, store: Store, clock: Clock) -> None:
    """Of a named destination only those that are due from then on; of others, before and after it, all."""
    names = [f"https://{letter}.example:443" for letter in "abcde"]
    relay.submit(a_submission("r"))
    [job] = store.read(lambda tx: tx.find("r", "admin"))
    for run, (name, due_at) in enumerate(((name, due_at) for name in names for due_at in (10.0, 20.0, 30.0)), start=1):
        made = open_delivery(replace(job, run=run), f"{name}/x", identity=f"d-{run}", now=due_at, due_at=due_at)
        store.write(lambda tx, made=made: tx.add_delivery(made))
    hosts = [destination_of(f"{name}/x") for name in names]
    floors = {hosts[1]: 15.0, hosts[3]: 31.0, "https://none.example": 5.0}
    due = {each.destination: each.due_at for each in store.read(lambda tx: tx.due_destinations(floors))}

    assert due == {hosts[0]: 10.0, hosts[1]: 20.0, hosts[2]: 10.0, hosts[4]: 10.0}
    [first, _] = store.read(lambda tx: tx.due_deliveries(hosts[1], limit=9, since=15.0))
    assert first.due_at == 20.0
    lease = Lease(worker="w", token="t", expires_at=clock.now)
    store.write(lambda tx: tx.save_delivery(claim_delivery(first, lease=lease, now=tx.now)))
    [after] = [each for each in store.read(lambda tx: tx.due_destinations(floors)) if each.destination == hosts[1]]
    assert (after.due_at, after.busy, after.oldest) == (30.0, 1, 20.0)
