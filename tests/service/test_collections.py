"""Collections on every engine: visibility, one callback, generations, what a dead process left, and retention."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from claude_relay.core.collections.csv_output import CsvForm
from claude_relay.core.collections.intake import parse_collection, parse_more_rows
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.deliveries.destination import Destination
from claude_relay.core.jobs.job_filter import JobFilter
from claude_relay.core.policy import Policy
from claude_relay.errors import Busy, Conflict, InvalidRequest, NotFound
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission
from tests.support.collections import CONTEXT, C, add, before_the_next_write, callbacks, create, finish


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(0))


def test_the_life_of_a_collection(relay: Relay, clock: Clock) -> None:
    """Rows in, one callback with exact counts; a retry is the next generation with one more; then it is purged."""
    create(relay, clock, 3)
    assert finish(relay, 2) == 3
    [first] = callbacks(relay)
    assert (first["status"], first["completed"], first["failed"], first["generation"]) == ("partial", 2, 1, 1)
    relay.collection_actions.retry(C)
    assert finish(relay) == 1
    [second] = callbacks(relay)
    assert (second["status"], second["completed"], second["generation"]) == ("completed", 3, 2)
    assert [each["row"] for each in second["results"]] == [1, 2, 3]
    clock.advance(23 * 3600)
    assert relay.maintenance.purge() == 0
    clock.advance(2 * 3600)
    assert relay.maintenance.purge() == 3
    with pytest.raises(NotFound):
        relay.collections.show(C)
    with pytest.raises(NotFound):
        relay.queries.status(JobRef(request_id="c:1"))
    assert create(relay, clock, 3).duplicate and not relay.execution.claim("w", limit=1)


def test_a_held_row_is_released_by_a_retry_of_its_job(relay: Relay, clock: Clock) -> None:
    """`onInterrupt: hold` in a template: nothing else could release it, and the collection would never end."""
    create(relay, clock, 2, template={"prompt": "Les {{text}}", "onInterrupt": "hold"})
    first, second = relay.execution.claim("w", limit=2)
    relay.execution.sending(first)
    relay.execution.reap(first.job.id, first.token, why="killed")
    relay.execution.complete(second, a_completion())
    assert relay.collections.show(C)["status"] == "processing"
    with pytest.raises(Conflict, match="has not ended"):
        relay.collection_actions.retry(C)
    relay.retry(JobRef(request_id="c:1"))
    assert finish(relay) == 1
    [body] = callbacks(relay)

    assert (body["status"], body["generation"]) == ("completed", 1)
    with pytest.raises(Conflict, match="is row 1 of collection c"):
        relay.retry(JobRef(request_id="c:1"))


def test_a_long_text_of_a_row_is_stored_once(store: Store, relay: Relay, clock: Clock) -> None:
    """
    A row takes the space of a job: its text stands in the request alone, and comes back in the results.

    Also after a retry with other options, which replaces that request.
    """
    rows = [{"text": f'Sa "nei"\n{number} ' * 40, "n": number} for number in range(2)]
    create(relay, clock, rows=rows, template={"prompt": "Les {{text}} ({{n}})", "onInterrupt": "hold"})
    first, second = relay.execution.claim("w", limit=2)
    relay.execution.sending(first)
    relay.execution.reap(first.job.id, first.token, why="killed")
    relay.execution.complete(second, a_completion())
    relay.retry(JobRef(request_id="c:1"), options={"maxTokens": 77, "systemPrompt": "Svar på norsk."})
    assert finish(relay) == 1

    with_text = [each for each in _stored_texts(store) if each.count("nei") > 0]
    assert [each.count("nei") for each in with_text] == [40, 40]
    lines = list(csv.DictReader(io.StringIO(b"".join(relay.collection_results.csv(C, CsvForm())).decode(), newline="")))
    assert [(line["text"], line["n"]) for line in lines] == [(row["text"], str(row["n"])) for row in rows]


def _stored_texts(store: Store) -> list[str]:
    def look(tx: Any) -> list[str]:
        return [value for row in tx._run("SELECT request, variables FROM requests", ()) for value in row if value]

    return store.read(look)


def test_rows_are_seen_by_nobody_before_all_are_there(store: Store, relay: Relay, clock: Clock) -> None:
    """While pieces are stored: no claim, no list, no status, no event; after it all of them at once."""
    seen: list[tuple[int, int, int]] = []
    other = Relay(store, QuietNotifier(), Policy())
    real = relay.collections._rows._add_piece

    def look(*args: Any) -> Any:
        made = real(*args)
        claimed = len(other.execution.claim("w", limit=1000))
        listed = len(other.queries.jobs(JobFilter(limit=1000)).jobs)
        found = len(other.collections.all(owner=None)[0])
        seen.append((claimed, listed, found))
        with pytest.raises(NotFound):
            other.queries.status(JobRef(request_id="c:1"))
        return made

    relay.collections._rows._add_piece = look  # type: ignore[method-assign]
    create(relay, clock, 250)

    assert len(seen) >= 3 and set(seen) == {(0, 0, 0)}
    assert len(other.queries.jobs(JobFilter(limit=1000)).jobs) == 250
    assert len(other.execution.claim("w", limit=1000)) == 250


def test_a_piece_of_rows_that_kept_the_store_for_long_is_followed_by_a_smaller_one(relay: Relay, clock: Clock) -> None:
    """Other submits wait for one piece at most: on a busy machine a hundred rows would take a tenth of a second."""
    pieces: list[int] = []
    took = iter([0.05, 0.05, 0.05, 0.015, 0.001, 0.001, 0.001, 0.001])
    times = itertools.chain.from_iterable((0.0, seconds) for seconds in took)
    rows = relay.collections._rows
    rows._clock = times.__next__
    real = rows._add_piece

    def look(*args: Any) -> Any:
        pieces.append(len(args[1]))
        return real(*args)

    rows._add_piece = look  # type: ignore[method-assign]
    create(relay, clock, 450)

    assert pieces == [100, 50, 25, 25, 25, 50, 100, 75]
    assert len(relay.execution.claim("w", limit=1000)) == 450


def test_rows_that_end_together_create_one_callback(store: Store, relay: Relay, clock: Clock) -> None:
    """Twenty threads end the last rows in the same group commits; the callback has all of them."""
    create(relay, clock, 40)
    claimed = relay.execution.claim("w", limit=40)
    start = threading.Barrier(20)

    def end(items: list[Any]) -> None:
        start.wait(60)
        for item in items:
            relay.execution.complete(item, a_completion())

    threads = [threading.Thread(target=end, args=(claimed[number::20],)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    [body] = callbacks(relay)

    assert (body["completed"], body["failed"], len(body["results"])) == (40, 0, 40)


def test_a_process_that_died_while_storing_rows_leaves_nothing(store: Store, relay: Relay, clock: Clock) -> None:
    """The same request is 503 while it may go on, and stores everything again after a minute."""
    real = relay.collections._rows._add_piece

    def die(*args: Any) -> Any:
        real(*args)
        raise SystemExit

    relay.collections._rows._add_piece = die  # type: ignore[method-assign]
    relay.collections._rows.discard = lambda identity: None  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        create(relay, clock, 250)
    fresh = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(1))
    with pytest.raises(Busy):
        create(fresh, clock, 250)
    clock.advance(61)
    assert create(fresh, clock, 250).collection.total == 250
    assert len(fresh.execution.claim("w", limit=1000)) == 250


def test_upkeep_removes_what_a_dead_process_was_storing(store: Store, relay: Relay, clock: Clock) -> None:
    """Also rows that were to follow in an open collection, which goes on without them."""
    create(relay, clock, 2, open=True)
    real = relay.collections._rows._add_piece

    def die(*args: Any) -> Any:
        real(*args)
        raise SystemExit

    relay.collections._rows._add_piece = die  # type: ignore[method-assign]
    relay.collections._rows.discard = lambda identity: None  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        add(relay, clock, 150)
    fresh = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(1))
    assert fresh.execution.claim("w", limit=10) == []
    with pytest.raises(Busy):
        add(fresh, clock, 1)
    clock.advance(61)
    fresh.collection_actions.tend()
    assert fresh.collections.show(C)["total"] == 2
    assert add(fresh, clock, 1, start=9).collection.total == 3
    fresh.collections.close(C)
    assert finish(fresh) == 3
    assert [body["total"] for body in callbacks(fresh)] == [3]


def test_a_cancel_while_rows_are_being_added_ends_the_collection(store: Store, relay: Relay, clock: Clock) -> None:
    """The request that adds them is refused, none of its rows is kept, and one callback follows."""
    create(relay, clock, 2, open=True)
    other = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(1))
    real = relay.collections._rows._add_piece
    calls: list[int] = []

    def look(*args: Any) -> Any:
        made = real(*args)
        calls.append(1)
        if len(calls) == 1:
            other.collection_actions.cancel(C)
        return made

    relay.collections._rows._add_piece = look  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        add(relay, clock, 250)
    [body] = callbacks(other)

    assert (body["total"], body["failed"], body["status"]) == (2, 2, "failed")
    assert store.read(lambda tx: tx.rows(tx.find_collections("c", None)[0].id, limit=999, after_row=2)) == []


def test_a_retry_that_died_half_way_is_continued(store: Store, relay: Relay, clock: Clock) -> None:
    """No callback before all of its rows are queued again."""
    create(relay, clock, 120)
    finish(relay, *range(1, 121), limit=200)
    callbacks(relay)
    real = relay.collection_actions._queue_step

    def die(identity: str) -> bool:
        real(identity)
        raise SystemExit

    relay.collection_actions._queue_step = die  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        relay.collection_actions.retry(C)
    fresh = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(1))
    assert fresh.execution.claim("w", limit=200) == []
    clock.advance(5)
    fresh.collection_actions.tend()
    assert finish(fresh, limit=200) == 0  # its own process may be at it
    clock.advance(1)
    fresh.collection_actions.tend()
    assert finish(fresh, limit=200) == 120
    assert [(body["generation"], body["completed"]) for body in callbacks(fresh)] == [(2, 120)]


def test_a_cancel_that_died_half_way_is_continued(store: Store, relay: Relay, clock: Clock) -> None:
    """After some seconds, in which its own process may be at it; a row that runs is stopped too."""
    create(relay, clock, 120)
    [running] = relay.execution.claim("w", limit=1)
    real = relay.collection_actions._cancel_step

    def die(*args: Any) -> None:
        real(*args)
        raise SystemExit

    relay.collection_actions._cancel_step = die  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        relay.collection_actions.cancel(C)
    fresh = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(1))
    assert fresh.execution.claim("w", limit=200) == []
    clock.advance(5)
    fresh.collection_actions.tend()
    rows = store.read(lambda tx: tx.rows(str(running.job.collection), limit=200))
    assert not any(row.state.final for row in rows)
    clock.advance(1)
    fresh.collection_actions.tend()
    assert fresh.execution.cancel_requests("w") == [running.job.id]
    fresh.execution.complete(running, a_completion())
    assert [(body["failed"], body["completed"]) for body in callbacks(fresh)] == [(119, 1)]


def test_a_cancel_that_reached_no_row_stops_one_that_runs(relay: Relay, clock: Clock) -> None:
    """Its process died between the mark of the collection and that of the row."""
    create(relay, clock, 1)
    [running] = relay.execution.claim("w", limit=1)
    relay.collection_actions._begin_cancel(C)
    clock.advance(61)
    assert relay.execution.cancel_requests("w") == []
    relay.collection_actions.tend()

    assert relay.execution.cancel_requests("w") == [running.job.id]


@pytest.mark.parametrize("engine", ["sqlite"])
def test_cancel_and_retry_of_many_rows_answer_and_are_continued(store: Store, clock: Clock) -> None:
    """After a second; the worker ends the rest, with one callback. What runs, and costs, is stopped first."""
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(0))
    seconds = itertools.count()
    relay.collection_actions._clock = lambda: float(next(seconds))
    create(relay, clock, 300)
    running = relay.execution.claim("w", limit=220)
    relay.collection_actions.cancel(C)
    shown = relay.collections.show(C)

    assert 0 < shown["failed"] + shown["processing"] < 300 and shown["cancelRequestedAt"] and callbacks(relay) == []
    assert relay.execution.claim("w", limit=10) == [], "no row starts"
    with pytest.raises(Conflict, match="is being cancelled already"):
        relay.collection_actions.cancel(C)
    for _ in range(4):
        clock.advance(6)
        relay.collection_actions.tend()
    rows_of = [relay._store.read(lambda tx, name=item.job.id: tx.job(name)) for item in running[-3:]]
    assert all(row is not None and row.cancel_requested_at for row in rows_of)
    for item in running:
        relay.execution.reap(item.job.id, item.token, why="stopped")
    [body] = callbacks(relay)
    assert (body["status"], body["failed"], body["generation"]) == ("failed", 300, 1)

    relay.collection_actions.retry(C)
    assert relay.collections.show(C)["pending"] < 300 and relay.execution.claim("w", limit=300) == []
    for _ in range(4):
        clock.advance(6)
        relay.collection_actions.tend()
    while finish(relay, limit=300):
        pass
    [body] = callbacks(relay)
    assert (body["status"], body["completed"], body["generation"]) == ("completed", 300, 2)


def test_each_row_that_was_invalid_calls_back_too(relay: Relay, clock: Clock) -> None:
    """`onInvalid: fail` with `each`: its failure is called back once, also when the request comes again."""
    for _ in range(2):
        create(relay, clock, 2, rows=[{"text": "a"}, {"other": "b"}], each=True, onInvalid="fail", metadata={"k": 1})
    [body] = callbacks(relay)
    assert (body["requestId"], body["errorType"], body["attempts"]) == ("c:2", "invalid_request", 0)
    assert "needs it" in body["error"]
    finish(relay)
    assert sorted(str(body.get("requestId")) for body in callbacks(relay)) == ["None", "c:1"]
    create(relay, clock, 2, rows=[{"text": "a"}, {"other": "b"}], each=True, onInvalid="fail", metadata={"k": 1})
    assert callbacks(relay) == []


def test_the_callback_of_an_invalid_row_survives_the_death_of_its_process(relay: Relay, clock: Clock) -> None:
    """It had sent no 202: the same request again sends what was left."""
    rows_store = relay.collections._rows
    real, rows_store.announce_invalid = rows_store.announce_invalid, lambda identity: 1 / 0  # type: ignore[assignment]
    fields: dict[str, Any] = {"rows": [{"other": "b"}], "each": True, "onInvalid": "fail"}
    with pytest.raises(ZeroDivisionError):
        create(relay, clock, **fields)
    rows_store.announce_invalid = real  # type: ignore[method-assign]
    assert create(relay, clock, **fields).duplicate
    assert sorted(str(body.get("requestId")) for body in callbacks(relay)) == ["None", "c:1"]


def test_an_open_collection_is_closed_after_a_day_without_a_request(relay: Relay, clock: Clock) -> None:
    create(relay, clock, 1, open=True)
    finish(relay)
    clock.advance(23 * 3600)
    assert list(relay.collection_actions.tend()) == []
    add(relay, clock, 1, start=5)
    clock.advance(24 * 3600)
    assert list(relay.collection_actions.tend()) == []
    clock.advance(1)
    assert list(relay.collection_actions.tend()) == ["c"]
    alert = relay.alerts.claim()
    assert alert is not None and json.loads(alert.body)["alert"] == "collection_closed"
    finish(relay)
    assert [body["total"] for body in callbacks(relay)] == [2]


def test_a_failed_row_or_a_dead_callback_keeps_the_whole_for_the_longer_time(relay: Relay, clock: Clock) -> None:
    """And while its callback is on its way it is never purged."""
    create(relay, clock, 2)
    finish(relay, 1)
    clock.advance(40 * 86400)
    assert relay.maintenance.purge() == 0
    callbacks(relay)
    clock.advance(29 * 86400)
    assert relay.maintenance.purge() == 0
    clock.advance(2 * 86400)
    assert relay.maintenance.purge() == 2


@pytest.mark.parametrize(("failing", "status"), [((), "completed"), ((1,), "partial"), ((1, 2), "failed")])
def test_the_same_request_after_the_purge_runs_nothing(
    relay: Relay, clock: Clock, failing: tuple[int, ...], status: str
) -> None:
    """As with a job: a duplicate that says how it ended and that it was purged; another body is a conflict."""
    create(relay, clock, 2)
    finish(relay, *failing)
    callbacks(relay)
    clock.advance(31 * 86400)
    assert relay.maintenance.purge() == 2
    again = create(relay, clock, 2)
    body = again.body(now=clock(), base=None)

    assert again.duplicate and (body["status"], body["total"], body["duplicate"]) == (status, 2, True)
    assert "was purged after its retention" in body["warnings"][0]
    hidden = again.body(now=clock(), base=None, show_state=False)
    assert (hidden["status"], hidden["warnings"]) == ("pending", []), "of a key that may not read"
    assert relay.execution.claim("w", limit=5) == [] and relay.collections.all(owner=None)[0] == []
    with pytest.raises(Conflict, match="another body"):
        create(relay, clock, 3)


def test_content_of_rows_is_erased_once_the_callback_is_delivered(store: Store, relay: Relay, clock: Clock) -> None:
    """`retain: metadata`: not by a row's own callback, and the result is kept until then."""
    create(relay, clock, 2, retain="metadata", each=True)
    finish(relay)
    taken = {item.request_id: item for item in relay.deliveries.claim("w", limit=10)}
    for name in ("c:1", "c:2"):
        relay.deliveries.record_attempt(taken[name], Reply(status=200))
    assert not relay.deliveries.take_erasable_rows()
    relay.maintenance.erase_rows()
    assert relay.queries.result(JobRef(request_id="c:1"))
    [whole] = [item for name, item in taken.items() if name not in ("c:1", "c:2")]
    relay.deliveries.record_attempt(whole, Reply(status=200))
    assert relay.deliveries.take_erasable_rows(), "the worker erases them in its next round"
    assert relay.maintenance.erase_rows() == 2
    with pytest.raises(NotFound):
        relay.queries.result(JobRef(request_id="c:1"))
    with pytest.raises(Conflict):
        relay.collection_actions.retry(C, [1])
    with pytest.raises(Conflict, match="erased on delivery"):
        relay.collection_actions.redeliver(C)
    whole_id = whole.delivery.job_id
    outcome, collection = store.read(lambda tx: (tx.outcome(whole_id, 1), tx.collection(whole_id)))
    assert outcome is not None and not outcome.body, "it had the answers"
    assert collection is not None and collection.template_body is None


def test_a_collection_and_single_jobs_take_turns(relay: Relay, clock: Clock) -> None:
    """A collection of the same key that came first does not hold back its single jobs."""
    create(relay, clock, 50)
    for number in range(5):
        relay.submit(a_submission(f"s-{number}"))
    first = relay.execution.claim("w", limit=10)

    assert sum(item.job.collection is None for item in first) == 5


def test_the_receiver_acknowledges_the_callback_of_a_generation(store: Store, clock: Clock) -> None:
    """CASES: the ackUrl of a collection works as that of a job."""
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0, public_url="https://r.example"))
    create(relay, clock, 1)
    finish(relay)
    [body] = callbacks(relay)
    relay.acks.ack(body["ackUrl"].rpartition("/")[2])

    assert relay.collections.show(C)["acked"] is not None
    assert body["resultsUrl"] == "https://r.example/api/collections/c/results"


def test_the_end_counts_the_rows_with_a_failed_check(relay: Relay, clock: Clock) -> None:
    """In the callback and the status: rows, not checks; a retried row that passes counts no more."""
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    options = {"outputSchema": schema, "checks": ["a == 1", "a < 2"]}
    create(relay, clock, 3, template={"prompt": "Les {{text}}", "options": options})

    def run(*wrong: int) -> dict[str, Any]:
        while claimed := relay.execution.claim("w", limit=10):
            for item in claimed:
                answer = {"a": 3 if item.job.row in wrong else 1}
                relay.execution.complete(item, a_completion(json.dumps(answer), json=answer))
            clock.advance(120)
        [body] = callbacks(relay)
        return body

    assert relay.collections.show(C)["checksFailed"] is None
    first = run(2)
    assert (first["completed"], first["checksFailed"]) == (3, 1)
    assert relay.collections.show(C)["checksFailed"] == 1
    relay.collection_actions.retry(C, [2])
    assert run()["checksFailed"] == relay.collections.show(C)["checksFailed"] == 0


class _Watched:
    """A store that counts the results that are read while all other writers wait."""

    def __init__(self, store: Store) -> None:
        self._store, self.read_under_lock = store, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, work: Any, **options: Any) -> Any:
        def watched(tx: Any) -> Any:
            real = tx.row_outcomes

            def count(identity: str, *, numbers: Any) -> Any:
                self.read_under_lock += len(numbers)
                return real(identity, numbers=numbers)

            tx.row_outcomes = count
            try:
                return work(tx)
            finally:
                del tx.row_outcomes

        return self._store.write(watched, **options)


def test_the_results_of_a_large_collection_are_read_before_the_lock(store: Store, clock: Clock) -> None:
    """The transaction that ends the last row reads that row alone, also of the next generation."""
    watched = _Watched(store)
    relay = Relay(watched, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(0))  # type: ignore[arg-type]
    create(relay, clock, 600)
    while finish(relay, 7):
        pass
    [first] = callbacks(relay)

    assert [each["row"] for each in first["results"]] == list(range(1, 601))
    assert (first["completed"], first["failed"], first["usage"]["input_tokens"]) == (599, 1, 5_990)
    assert watched.read_under_lock == 1
    relay.collection_actions.retry(C)
    finish(relay)
    [second] = callbacks(relay)

    assert (second["generation"], second["completed"], len(second["results"])) == (2, 600, 600)
    assert watched.read_under_lock == 2


@pytest.mark.parametrize("row", [0, 4, -1])
def test_a_retry_of_a_row_that_is_not_there_is_refused_by_its_number(relay: Relay, clock: Clock, row: int) -> None:
    """And nothing is retried; the first and the last row are."""
    create(relay, clock)
    finish(relay, 1, 3)
    with pytest.raises(InvalidRequest, match=f"names row {row}, and the collection has the rows 1 to 3"):
        relay.collection_actions.retry(C, rows=[1, row])

    assert relay.collections.show(C)["generation"] == 1
    relay.collection_actions.retry(C, rows=[1, 3])
    assert relay.collections.show(C)["generation"] == 2


def test_the_delivery_of_an_earlier_generation_is_not_that_of_the_present_one(relay: Relay, clock: Clock) -> None:
    """While rows of a retry run there is no callback; `redeliver` sends the one of the present generation."""
    create(relay, clock)
    finish(relay, 2)
    assert callbacks(relay)[0]["generation"] == 1
    assert relay.collections.show(C)["delivery"]["status"] == "delivered"
    assert relay.collection_actions.redeliver(C).state.value == "pending"
    assert callbacks(relay)[0]["generation"] == 1

    relay.collection_actions.retry(C)
    assert relay.collections.show(C)["delivery"]["status"] == "none"
    finish(relay)
    assert relay.collections.show(C)["delivery"]["status"] == "pending"
    clock.advance(2)
    assert callbacks(relay)[0]["generation"] == 2


def test_a_close_that_is_repeated_under_its_key_is_the_same_close(relay: Relay, clock: Clock) -> None:
    """Its answer may have been lost; another request finds the collection closed."""
    create(relay, clock, 1, open=True)

    assert relay.collections.close(C, key="k") is False
    assert relay.collections.close(C, key="k") is True
    with pytest.raises(Conflict):
        relay.collections.close(C, key="other")


def test_jobs_of_a_collection_may_continue_earlier_ones(store: Store, relay: Relay, clock: Clock) -> None:
    """Each its own; one that continues none beside them has none."""
    for name in ("a", "b"):
        relay.submit(a_submission(name, request={"prompt": f"say {name}"}, webhook_url=None))
        relay.execution.complete(relay.execution.claim("w", limit=1)[0], a_completion(f"answer {name}"))
    jobs = [{"prompt": "more", "continueFrom": "a"}, {"prompt": "new"}, {"prompt": "more", "continueFrom": "b"}]
    create(relay, clock, template=None, rows=None, jobs=jobs)
    claimed = {each.job.row: each for each in relay.execution.claim("w", limit=3)}

    turns = {row: [turn.request["prompt"] for turn in relay.execution.history(each)] for row, each in claimed.items()}
    assert turns == {1: ["say a"], 2: [], 3: ["say b"]}


@pytest.mark.parametrize(
    ("earlier", "may_continue", "problem"),
    [("ended", False, "lacks the scope read"), ("none", True, "none"), ("waits", True, "waiting")],
)
def test_a_job_of_a_collection_that_cannot_continue_is_refused_with_its_number(
    relay: Relay, clock: Clock, earlier: str, may_continue: bool, problem: str
) -> None:
    """And nothing of the collection is stored; `onInvalid: fail` does not change that."""
    relay.submit(a_submission("ended", webhook_url=None))
    relay.execution.complete(relay.execution.claim("w", limit=1)[0], a_completion())
    relay.submit(a_submission("waits", webhook_url=None))
    body = {"collectionId": "c", "onInvalid": "fail",
            "jobs": [{"prompt": "new"}, {"prompt": "more", "continueFrom": earlier}]}  # fmt: skip
    request = parse_collection(body, now=clock(), context=CONTEXT)
    with pytest.raises(InvalidRequest) as caught:
        relay.collections.create(request, CONTEXT, now=clock(), may_continue=may_continue)

    [found] = caught.value.problems
    assert "jobs[1]" in str(vars(found)) and "continueFrom" in found.field and problem in found.problem
    with pytest.raises(NotFound):
        relay.collections.show(C)


def test_a_redelivery_to_a_receiver_that_fails_is_tried_at_once(store: Store, relay: Relay, clock: Clock) -> None:
    """As one of a single job: the operator has reason to believe that it answers again."""
    create(relay, clock, 1)
    finish(relay)
    callbacks(relay, 410)
    later = Destination(name="https://hook.example", failures=8, slowed_at=clock(), not_before=clock() + 3600)
    store.write(lambda tx: tx.save_destination(later))
    assert relay.deliveries.claim("w", limit=1) == []

    relay.collection_actions.redeliver(C)
    clock.advance(1)
    assert callbacks(relay)[0]["generation"] == 1


def test_a_collection_that_is_being_purged_is_gone_for_its_readers(relay: Relay, clock: Clock) -> None:
    """From the first step on: none sees a part of its rows."""
    create(relay, clock, 40)
    finish(relay)
    callbacks(relay)
    clock.advance(25 * 3600)
    seen: list[object] = []

    def look() -> None:
        try:
            seen.append(relay.collections.show(C))
        except NotFound:
            seen.append(None)

    assert relay.maintenance.purge(step_done=look) == 40
    assert len(seen) > 1 and set(seen) == {None}


@pytest.mark.parametrize("by", ["client", "rows"])
def test_an_open_collection_is_not_closed_under_a_client_that_is_back(
    store: Store, relay: Relay, clock: Clock, by: str
) -> None:
    """Between the look at those without a request for a day and the close: it has closed it, or sends more rows."""
    create(relay, clock, 1, open=True)
    clock.advance(25 * 3600)
    if by == "client":
        before_the_next_write(store, lambda: relay.collections.close(C, key=None))
    else:
        more = parse_more_rows({"rows": [{"text": "more"}]})
        before_the_next_write(store, lambda: relay.collections._begin_more(C, more, None))

    assert relay.collection_actions.tend() == []
    assert relay.alerts.claim() is None


def test_a_retry_that_another_process_finishes_queues_each_row_once(store: Store, relay: Relay, clock: Clock) -> None:
    """The upkeep of a worker, while the request that asked for it is at the same rows."""
    create(relay, clock, 3)
    finish(relay, 1, 2, 3)
    relay.collection_actions._clock = lambda: before_the_next_write(store, upkeep) or 0.0  # type: ignore[func-returns-value]

    def upkeep() -> None:
        relay.collection_actions._clock = time.monotonic
        clock.advance(60)
        relay.collection_actions.tend()

    relay.collection_actions.retry(C)
    assert relay.collections.show(C)["generation"] == 2
    assert sorted(each.job.row or 0 for each in relay.execution.claim("w", limit=9)) == [1, 2, 3]


def test_a_retry_that_is_cancelled_before_its_rows_are_queued_starts_none(
    store: Store, relay: Relay, clock: Clock
) -> None:
    """It ends at once, as one that is cancelled while its rows wait."""
    create(relay, clock, 3)
    finish(relay, 1, 2, 3)

    def cancel() -> float:
        relay.collection_actions._clock = time.monotonic
        relay.collection_actions.cancel(C)
        return 0.0

    relay.collection_actions._clock = cancel
    relay.collection_actions.retry(C)
    assert relay.execution.claim("w", limit=9) == []
    assert relay.collections.show(C)["processing"] == 0


@pytest.mark.parametrize("each", [True, False])
def test_the_failure_of_an_invalid_row_is_acknowledged_where_it_is_called_back(
    store: Store, clock: Clock, each: bool
) -> None:
    """As the result of any other row; without a callback of its own there is nothing to acknowledge."""
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0, public_url="https://r.example"))
    create(relay, clock, rows=[{"text": "a"}, {"other": "b"}], each=each, onInvalid="fail")
    failure = json.loads(relay.queries.result(JobRef(request_id="c:2")) or b"")

    assert (failure.get("ackUrl") is not None) == each
    if each:
        relay.acks.ack(failure["ackUrl"].rpartition("/")[2])
        assert relay.queries.status(JobRef(request_id="c:2"))["acked"] is not None


def test_two_requests_that_store_at_once_are_told_when_to_come_back(store: Store, relay: Relay, clock: Clock) -> None:
    """The same collection in five seconds, more rows of one in two; both are then stored as a whole."""
    waits: list[float | None] = []

    def busy(act: Callable[[], object]) -> None:
        with pytest.raises(Busy) as caught:
            act()
        waits.append(caught.value.retry_after)

    def beside(act: Callable[[], object]) -> Callable[..., Any]:
        real = relay.collections._rows._add_piece

        def add_piece(*args: Any) -> Any:
            relay.collections._rows._add_piece = real  # type: ignore[method-assign]
            busy(act)
            return real(*args)

        return add_piece

    relay.collections._rows._add_piece = beside(lambda: create(relay, clock, 2, open=True))  # type: ignore[method-assign]
    create(relay, clock, 2, open=True)
    relay.collections._rows._add_piece = beside(lambda: add(relay, clock, 1, 9))  # type: ignore[method-assign]
    add(relay, clock, 1, 5)
    before_the_next_write(store, lambda: create(relay, clock, 1, collectionId="other"))
    busy(lambda: create(relay, clock, 1, collectionId="other"))

    assert waits == [5, 2, 5]
    assert relay.collections.show(C)["total"] == 3


def test_an_open_collection_without_a_template_takes_jobs_only(relay: Relay, clock: Clock) -> None:
    """A row needs a template; after the first jobs there is no other kind, either."""
    create(relay, clock, template=None, rows=None, open=True)
    with pytest.raises(InvalidRequest, match="made without a template"):
        add(relay, clock, 1)
    more = parse_more_rows({"jobs": [{"prompt": "Hei"}]})
    relay.collections.add_rows(C, more, CONTEXT, key=None, now=clock())
    with pytest.raises(InvalidRequest, match="made with jobs"):
        add(relay, clock, 1)

    assert relay.collections.show(C)["total"] == 1


def test_the_callback_of_an_invalid_row_that_was_added_survives_the_death_of_its_process(
    relay: Relay, clock: Clock
) -> None:
    """As of one that came with its collection: the repeated request sends what was left."""
    create(relay, clock, 1, each=True, onInvalid="fail", open=True)
    request = parse_more_rows({"rows": [{"other": "b"}]})
    rows_store = relay.collections._rows
    real, rows_store.announce_invalid = rows_store.announce_invalid, lambda identity: 1 / 0  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError):
        relay.collections.add_rows(C, request, CONTEXT, key="k", now=clock())
    rows_store.announce_invalid = real  # type: ignore[method-assign]
    assert callbacks(relay) == []

    assert relay.collections.add_rows(C, request, CONTEXT, key="k", now=clock()).duplicate
    assert [body["requestId"] for body in callbacks(relay)] == ["c:2"]


@pytest.mark.parametrize("by", ["client", "upkeep"])
def test_a_collection_whose_rows_have_ended_calls_back_when_it_is_closed(relay: Relay, clock: Clock, by: str) -> None:
    """Whoever closes it: nothing else would end it."""
    create(relay, clock, 2, open=True)
    finish(relay)
    assert callbacks(relay) == []
    if by == "client":
        relay.collections.close(C, key=None)
    else:
        clock.advance(25 * 3600)
        assert relay.collection_actions.tend() == ["c"]

    assert [(body["total"], body["completed"]) for body in callbacks(relay)] == [(2, 2)]
