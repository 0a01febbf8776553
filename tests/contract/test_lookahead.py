"""Look-ups that are announced: the same results as without, whatever the functions of one commit do to each other."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.fairness import Flow
from claude_relay.core.policy import Policy
from claude_relay.errors import RelayError
from claude_relay.ports import ReadTransaction, Transaction
from claude_relay.services import JobRef, Relay
from claude_relay.storage import group_commit
from claude_relay.storage.sql.insert_buffer import InsertBuffer
from claude_relay.storage.sql.lookahead import is_read
from tests.support.builders import QuietNotifier, a_completion, a_failure, a_submission
from tests.support.together import together


class CheckedBuffer(InsertBuffer):
    """Compares every answer to a look-up with the database's own."""

    recalled = 0
    outdated: ClassVar[list[str]] = []  # not an error: the group would be run again, without announcements

    def run_after_flush(self, sql: str, args: Sequence[Any]) -> Any:
        recalled = self._fetched.recall(sql, args) if is_read(sql) else None
        rows = super().run_after_flush(sql, args)
        if recalled is not None:
            CheckedBuffer.recalled += 1
            self.flush()
            if [tuple(row) for row in rows] != [tuple(row) for row in self._run(sql, args)]:
                CheckedBuffer.outdated.append(sql)
        return rows


@pytest.fixture
def clock() -> Callable[[], float]:
    """The real time, for the store."""
    return time.time


def test_an_announced_look_up_never_returns_what_a_write_of_the_same_commit_changed(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random groups of use cases on the same few jobs: each answer is compared with the database's."""
    monkeypatch.setattr(group_commit, "InsertBuffer", CheckedBuffer)
    CheckedBuffer.recalled = 0
    CheckedBuffer.outdated.clear()
    rng = random.Random(14)
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0, webhook_schedule=(0.0, 0.0)))
    claimed: list[Any] = []
    sending: list[Any] = []
    lock = threading.Lock()

    def claim(ids: Sequence[str] | None) -> None:
        found = relay.execution.claim("w", limit=3, ids=ids)
        with lock:
            claimed.extend(found)

    def claim_deliveries() -> None:
        found = relay.deliveries.claim("w", limit=3)
        with lock:
            sending.extend(found)

    def one(number: int) -> Callable[[], Any]:
        name = f"r-{number // 4}-{rng.randrange(3)}"
        call = rng.choice(claimed[-5:]) if claimed else None
        post = rng.choice(sending[-5:]) if sending else None
        choices: list[Callable[[], Any]] = [
            *[lambda: relay.submit(a_submission(name, webhook_url=f"https://{name}.example/"))] * 3,
            lambda: relay.cancel(JobRef(request_id=name)),
            lambda: relay.retry(JobRef(request_id=name)),
            lambda: relay.set_group("default", concurrency=None, rate=None),
            lambda: claim(None),
            lambda: claim([call.job.id] if call else ["0" * 26]),
            claim_deliveries,
        ]
        if call is not None:
            choices += [
                lambda: relay.execution.sending(call),
                lambda: relay.execution.complete(call, a_completion()),
                lambda: relay.execution.fail(call, a_failure()),
                lambda: relay.execution.release(call),
            ]
        if post is not None:
            reply = Reply(status=rng.choice((200, 500)), ms=1)
            choices += [lambda: relay.deliveries.record_attempt(post, reply)] * 3
        return rng.choice(choices)

    for number in range(60):
        answers = together(store, *(one(number) for _ in range(rng.randrange(2, 9))))
        wrong = [answer for answer in answers if isinstance(answer, Exception) and not isinstance(answer, RelayError)]
        assert not wrong

    assert CheckedBuffer.outdated == []
    assert CheckedBuffer.recalled > 100


def test_an_announcement_of_something_else_costs_a_look_up_and_changes_nothing(store: Any) -> None:

    def work(tx: Transaction) -> tuple[Any, Any]:
        tx.set_shared_value("a", 2)
        tx.prefetch(lambda reads: reads.shared_value("b"))
        return tx.shared_value("a"), tx.shared_value("b")

    def announce(reads: ReadTransaction) -> None:
        assert reads.shared_value("a") is None
        reads.job("nothing")
        reads.due({Flow("a", "", "g", "f"): 7})

    store.write(lambda tx: tx.set_shared_value("a", 1))

    assert store.write(work, ahead=announce) == (2, None)
