"""Stored content that the disk has changed is not used and not sent (CASES S11), nor are moved headers (S16)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, PartialResponse, Remedy, Repair, RequestOutcome
from claude_relay.core.jobs.job import OnInterrupt, State
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict, Damaged, LeaseLost
from claude_relay.ports import JobFilter, Store, Transaction
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sql import job_digest
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    relay = Relay(store, QuietNotifier(), Policy(callback_max=2000), rng=random.Random(1))
    yield relay
    relay.close()


def change(store: Store, sql: str, *args: object) -> None:
    """Change a row as a failing disk does: past every rule."""

    def run(tx: Transaction) -> None:
        tx._run(sql, args)  # type: ignore[attr-defined]

    store.write(run)


def job_id(relay: Relay, store: Store, name: str) -> str:
    return store.read(lambda tx: tx.find(name, "admin")[0].id)


def ended(relay: Relay, clock: Clock, *names: str, text: str = "Svar", **fields: object) -> None:
    for name in names:
        relay.submit(a_submission(name, **fields))
    for claimed in relay.execution.claim("w", limit=9):
        relay.execution.complete(claimed, a_completion(text))
    clock.advance(2)


def alerts(relay: Relay) -> list[str]:
    return [alert.kind for alert in relay.alerts.evaluate()]


def test_a_damaged_request_fails_its_job_before_the_call_and_no_other(relay: Relay, store: Store, clock: Clock) -> None:
    """Its receiver learns of it, as the webhook is intact; the operator gets an alert."""
    for name in ("damaged", "intact"):
        relay.submit(a_submission(name))
    change(
        store,
        "UPDATE requests SET request = replace(request, 'r', 's') WHERE job_id = ?",
        job_id(relay, store, "damaged"),
    )
    claimed = relay.execution.claim("w", limit=9)
    clock.advance(2)
    [sent] = relay.deliveries.claim("w", limit=9)
    status = relay.queries.status(JobRef(request_id="damaged"))

    assert [item.job.request_id for item in claimed] == ["intact"]
    assert (status["status"], status["errorType"]) == ("failed", "internal")
    assert "the stored request of job" in status["error"] and "doctor --deep" in status["error"]
    assert sent.request_id == "damaged" and b'"errorType":"internal"' in sent.body
    assert "store_damaged" in alerts(relay)


def test_a_damaged_webhook_gets_nothing_and_the_answer_is_kept(relay: Relay, store: Store, clock: Clock) -> None:
    """Damaged before the end of the call: no callback is made. Its answer was paid for, and can be sent elsewhere."""
    relay.submit(a_submission("a"))
    [claimed] = relay.execution.claim("w", limit=1)
    change(store, "UPDATE requests SET webhook_url = 'https://hook.eu1.makf.com/x'")
    job = relay.execution.complete(claimed, a_completion())
    clock.advance(2)

    assert job.state is State.COMPLETED
    assert relay.deliveries.claim("w", limit=9) == []
    assert b"Svar" in (relay.queries.result(JobRef(request_id="a")) or b"")
    assert b"No callback was sent" in (relay.queries.result(JobRef(request_id="a")) or b"")


@pytest.mark.parametrize("column", ["url = 'https://hook.eu1.makf.com/x'", "webhook_id = 'msg_other'"])
def test_a_damaged_delivery_is_not_sent_until_an_address_is_named(
    relay: Relay, store: Store, clock: Clock, column: str
) -> None:
    ended(relay, clock, "a", "b")
    change(store, f"UPDATE deliveries SET {column} WHERE job_id = ?", job_id(relay, store, "a"))
    ref = JobRef(request_id="a")

    assert [sent.request_id for sent in relay.deliveries.claim("w", limit=9)] == ["b"]
    assert relay.queries.status(ref)["delivery"]["status"] == "dead"
    assert "store_damaged" in alerts(relay)
    with pytest.raises(Conflict, match="damaged: name one"):
        relay.redeliver(ref)
    relay.redeliver(ref, url="https://hook.eu1.make.com/right")
    [sent] = relay.deliveries.claim("w", limit=9)
    assert sent.delivery.url == "https://hook.eu1.make.com/right" and b"Svar" in sent.body


@pytest.mark.parametrize(("table", "text"), [("outcomes", "Svar"), ("delivery_bodies", "x" * 3000)])
def test_a_damaged_callback_is_neither_sent_nor_shown(
    relay: Relay, store: Store, clock: Clock, table: str, text: str
) -> None:
    """Also the shortened body of a long answer, whose full one is intact."""
    ended(relay, clock, "a", text=text)
    change(store, f"UPDATE {table} SET body = ?", b'{"requestId": "a", "response": "another"}')

    assert relay.deliveries.claim("w", limit=9) == []
    assert relay.queries.status(JobRef(request_id="a"))["delivery"]["status"] == "dead"
    if table == "outcomes":
        with pytest.raises(Damaged, match="the stored result of job"):
            relay.queries.result(JobRef(request_id="a"))
    assert len(list(relay.queries.damaged())) == 1


def test_a_list_goes_on_past_a_damaged_job(relay: Relay, store: Store) -> None:
    for name in ("a", "b", "c"):
        relay.submit(a_submission(name, metadata={"row": 1}))
    change(store, "UPDATE requests SET metadata = '{\"row\":3}' WHERE job_id = ?", job_id(relay, store, "b"))
    jobs = {job["requestId"]: job for job in relay.queries.jobs(JobFilter()).jobs}

    assert jobs["a"]["metadata"] == {"row": 1} and "damaged" in jobs["b"]["error"]
    with pytest.raises(Damaged):
        relay.queries.status(JobRef(request_id="b"))


def test_a_deep_check_names_every_job_and_passes_what_was_erased(relay: Relay, store: Store, clock: Clock) -> None:
    ended(relay, clock, "a", "b", "c", webhook_headers={"x-key": "1"})
    store.write(lambda tx: tx.erase_content(job_id(relay, store, "c")))
    assert list(relay.queries.damaged()) == []
    change(store, "UPDATE deliveries SET url = 'https://x' WHERE job_id = ?", job_id(relay, store, "a"))
    change(store, "UPDATE requests SET warnings = '[]' WHERE job_id = ?", job_id(relay, store, "b"))
    found = dict(relay.queries.damaged())

    assert set(found) == {"a", "b"}
    assert "webhook address" in found["a"] and "webhook" in found["b"]


def test_headers_that_were_moved_to_another_job_are_not_sent(relay: Relay, store: Store, clock: Clock) -> None:
    """Whoever can write to the store must not get a key sent to an address of theirs; nor does a damaged page."""
    for owner, headers in (("theirs", {"x-key": "secret"}), ("other", {"x-key": "own"})):
        relay.submit(a_submission(owner, webhook_headers=headers), owner=owner)
    for claimed in relay.execution.claim("w", limit=9):
        relay.execution.complete(claimed, a_completion())
    clock.advance(2)

    def sealed(tx: Transaction) -> dict[str, str]:
        rows = tx._run("SELECT owner, webhook_headers FROM requests JOIN jobs ON id = job_id", ())  # type: ignore[attr-defined]
        return dict(rows)

    theirs = store.read(sealed)["theirs"]  # type: ignore[arg-type]
    other = store.read(lambda tx: tx.find("other", "other")[0].id)
    cipher = store._cipher  # type: ignore[attr-defined]

    assert cipher.decrypt(theirs, owner="theirs", row=store.read(lambda tx: tx.find("theirs", None)[0].id))
    assert cipher.decrypt(theirs, owner="other", row=other) is None
    change(store, "UPDATE requests SET webhook_headers = ? WHERE job_id = ?", theirs, other)
    assert [sent.request_id for sent in relay.deliveries.claim("w", limit=9)] == ["theirs"]


@pytest.mark.parametrize("run", ["ended", "waiting"])
def test_a_change_of_any_column_of_a_job_is_met_where_its_row_is_read(
    relay: Relay, store: Store, clock: Clock, run: str
) -> None:
    """State, requestId, counters, cost and times (CASES S11): only the end of a lease, which moves, may be any."""
    relay.submit(a_submission("a", priority=5.0))
    relay.submit(a_submission("b"))
    if run == "ended":
        for claimed in relay.execution.claim("w", limit=2):
            relay.execution.complete(claimed, a_completion())
    identity = job_id(relay, store, "a")
    columns = [name for name in job_digest.COLUMNS if name not in ("id", "lease_expires_at")]
    [row] = store.read(lambda tx: tx._run(f"SELECT {', '.join(columns)} FROM jobs WHERE id = ?", (identity,)))  # type: ignore[attr-defined]
    missed = []
    for name, value in zip(columns, row, strict=True):
        other = {"state": "cancelled" if run == "ended" else "held", "lane": "batch", "lease_token": None}.get(name)
        if other is None:
            other = value + 1 if isinstance(value, int | float) else b"x" * 16 if name == "digest" else f"{value}x"
            other = 7.0 if value is None and name in _NUMBERS else other
        if name in ("lease_token", "finished_at") and value is None:
            continue  # the schema itself refuses them
        change(store, f"UPDATE jobs SET {name} = ? WHERE id = ?", other, identity)
        try:
            store.read(lambda tx: tx.job(identity))
            missed.append(name)
        except Damaged:
            pass
        change(store, f"UPDATE jobs SET {name} = ? WHERE id = ?", value, identity)

    assert missed == []
    assert relay.queries.status(JobRef(request_id="a"))["requestId"] == "a"


_NUMBERS = "deadline_at run_at lease_expires_at cancel_requested_at finished_at cost_usd give_up_at row_no".split()


@pytest.mark.parametrize("named", [True, False])
def test_a_damaged_row_is_left_out_of_what_is_claimed_and_is_an_alert(relay: Relay, store: Store, named: bool) -> None:
    """Others go on, by a sweep and by the ids of the ready queue; `doctor --deep` names it."""
    for name in ("a", "b"):
        relay.submit(a_submission(name))
    ids = [job_id(relay, store, name) for name in ("a", "b")] if named else None
    change(store, "UPDATE jobs SET attempt = 3 WHERE request_id = 'a'")
    claimed = relay.execution.claim("w", limit=9, ids=ids)

    assert [item.job.request_id for item in claimed] == ["b"]
    assert "store_damaged" in alerts(relay)
    assert dict(relay.queries.damaged()) == {"a": "the row of job a is damaged"}


def test_times_that_other_statements_move_are_no_damage(relay: Relay, store: Store, clock: Clock) -> None:
    """The sent mark, a step of the clock in either direction, deadlines given back, and a lease that is renewed."""
    for name in ("waiting", "running", "ended"):
        relay.submit(a_submission(name, priority=-30.0))
        if name != "waiting":
            [claimed] = relay.execution.claim("w", limit=1, ids=[job_id(relay, store, name)])
            assert relay.execution._mark_sent(claimed)
        if name == "ended":
            relay.execution.complete(claimed, a_completion())
    running = job_id(relay, store, "running")
    for seconds in (3600.1, -86400.3):
        store.write(lambda tx, seconds=seconds: tx.shift_times(seconds))
    store.write(lambda tx: tx.postpone_deadlines(since=clock() - 500_000, until=clock() - 0.3))
    store.write(lambda tx: tx.renew_leases("w", [running], clock() + 77))

    assert list(relay.queries.damaged()) == []


def test_a_damaged_partial_answer_is_not_shown_and_a_damaged_repair_not_asked_for(relay: Relay, store: Store) -> None:
    for name in ("partial", "repair"):
        relay.submit(a_submission(name))
    first, second = relay.execution.claim("w", limit=2)
    relay.execution.checkpoint(first, PartialResponse(text="Svar til"))
    repair = Repair(text="{}", problem="a is missing", kinds=(ErrorType.SCHEMA,))
    store.write(lambda tx: tx.save_repair(second.job.id, second.job.run, repair))

    assert relay.queries.partial(JobRef(request_id=first.job.request_id)) == "Svar til"
    assert store.read(lambda tx: tx.repair(second.job.id, 1)) == repair
    change(store, "UPDATE partials SET text = 'Svar fil'")
    change(store, "UPDATE repairs SET problem = 'b is missing'")
    assert not relay.queries.partial(JobRef(request_id=first.job.request_id))
    assert store.read(lambda tx: tx.repair(second.job.id, 1)) is None
    assert {what.partition(" of job")[0] for _, what in relay.queries.damaged()} == {
        "the partial answer",
        "the answer to repair",
    }
    relay.execution.complete(first, a_completion())
    assert relay.queries.status(JobRef(request_id=first.job.request_id))["status"] == "completed"


@pytest.mark.parametrize(
    "column", ["state = 'pending', finished_at = NULL", "attempts = 9", "version = 9", "destination = 'https://x'"]
)
def test_a_delivery_whose_state_or_counters_were_changed_is_not_sent(
    relay: Relay, store: Store, clock: Clock, column: str
) -> None:
    """A delivered callback that looks pending again would be a duplicate."""
    ended(relay, clock, "a")
    if column.startswith("state"):
        [sent] = relay.deliveries.claim("w", limit=9)
        relay.deliveries.record_attempt(sent, Reply(status=200, ms=1, excerpt=""))
    change(store, f"UPDATE deliveries SET {column}")

    assert relay.deliveries.claim("w", limit=9) == []


@pytest.mark.parametrize(
    "column", ["attempt = 3", "state = 'queued', lease_token = NULL", "lease_token = 'other'", "grp = 'x'", "times = 5"]
)
@pytest.mark.parametrize("end", ["complete", "fail", "interrupt", "followup"])
def test_a_paid_answer_is_kept_when_the_row_of_its_running_job_is_damaged(
    relay: Relay, store: Store, clock: Clock, column: str, end: str
) -> None:
    """The row is replaced by what the worker holds: nothing stays running, and the operator gets an alert."""
    relay.submit(a_submission("a", on_interrupt=OnInterrupt.PARTIAL))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    if end == "followup":
        step = RequestOutcome(outcome="paused", detail="", usage={"output_tokens": 5}, cost_usd=0.25)
        relay.execution.start_followup(claimed, step)
    change(store, f"UPDATE jobs SET {column}")
    relay.execution.checkpoint(claimed, PartialResponse(text="Sva"))
    change(store, f"UPDATE jobs SET {column}")
    if end == "fail":
        relay.execution.fail(claimed, a_failure(remedy=Remedy.FAIL, sent=True, partial="Sva", cost_usd=0.5))
    elif end == "interrupt":
        relay.execution.interrupt(claimed, PartialResponse(text="Sva"), why="a stop")
    else:
        relay.execution.complete(claimed, a_completion("Svar", cost_usd=0.5))
    details = relay.queries.job_details(JobRef(request_id="a"))
    body = (relay.queries.result(JobRef(request_id="a")) or b"").decode()

    assert details["status"] == ("completed" if end in ("complete", "followup") else "failed")
    assert ("Svar" if details["status"] == "completed" else "Sva") in body
    assert details["costUsd"] == {"complete": 0.5, "fail": 0.5, "followup": 0.75}.get(end, details["costUsd"])
    assert "store_damaged" in alerts(relay)
    assert list(relay.queries.damaged()) == []


def test_a_worker_that_lost_its_job_replaces_no_damaged_row(relay: Relay, store: Store) -> None:
    """The ledger names the later call, whatever the row says."""
    relay.submit(a_submission("a"))
    [stale] = relay.execution.claim("w1", limit=1)
    relay.execution.reap(stale.job.id, stale.token, why="a crash")
    change(store, "UPDATE jobs SET attempt = 7")

    with pytest.raises(LeaseLost):
        relay.execution.complete(stale, a_completion())
    assert dict(relay.queries.damaged()) == {"a": "the row of job a is damaged"}


@pytest.mark.parametrize("engine", ["sqlite"])
def test_a_waiting_delivery_with_a_lease_from_nowhere_is_given_up_and_stops_no_other(
    relay: Relay, store: Store, clock: Clock
) -> None:
    """A bit of its lease's type: the schema refuses such a row, which the file has all the same."""
    ended(relay, clock, "a", "b")
    change(store, "PRAGMA ignore_check_constraints = 1")
    damaged = "UPDATE deliveries SET lease_token = 0, lease_worker = 'w', attempts = 9 WHERE job_id = ?"
    change(store, damaged, job_id(relay, store, "a"))
    change(store, "PRAGMA ignore_check_constraints = 0")

    assert [sent.request_id for sent in relay.deliveries.claim("w", limit=9)] == ["b"]
    assert relay.queries.status(JobRef(request_id="a"))["delivery"]["status"] == "dead"
    assert "store_damaged" in alerts(relay)


def test_a_batch_s_answer_for_a_request_that_was_damaged_since_is_kept(
    relay: Relay, store: Store, clock: Clock
) -> None:
    """It was paid for: without its request no check can be made, and none is."""
    relay.submit(a_submission("a", mode="batch"))
    clock.advance(15)
    batch = relay.batches.plan("w")
    assert batch is not None
    [entry] = relay.batches.contents(batch)
    sent = relay.batches.sending(batch, [entry.item.custom_id])
    change(store, "UPDATE requests SET request = replace(request, 'r', 's')")
    [entry] = relay.batches.contents(sent)
    assert entry.request is None and entry.damage
    relay.batches.record_result(entry, a_completion("paid"))

    assert relay.queries.status(JobRef(request_id="a"))["status"] == "completed"
    assert b"paid" in (relay.queries.result(JobRef(request_id="a")) or b"")
