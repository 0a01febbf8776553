"""Stored content that the disk has changed is not used and not sent (CASES S11), nor are moved headers (S16)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from claude_relay.core.jobs.job import State
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict, Damaged
from claude_relay.ports import JobFilter, Store, Transaction
from claude_relay.services import JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission


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
