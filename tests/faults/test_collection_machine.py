"""Random sequences of rows, closes, cancels, retries and workers on one collection, compared with a model."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from claude_relay.core.collections.intake import parse_collection, parse_more_rows
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.policy import Policy
from claude_relay.errors import Conflict, InvalidRequest
from claude_relay.services import ClaimedJob, CollectionRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure
from tests.support.intake import an_intake_context

CONTEXT = an_intake_context()
C = CollectionRef(collection_id="c")
ENDED = ("completed", "partial", "failed")


class CollectionMachine(RuleBasedStateMachine):
    """One collection; the model knows the rows, how each ended, and how many callbacks there must be."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = SqliteStore(Path(self.folder.name) / "relay.db", clock=self.clock)
        self.relay = Relay(self.store, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(0))
        self.rows: list[str] = []  # waiting, running, completed, failed
        self.running: dict[int, ClaimedJob] = {}
        self.open, self.cancelled = True, False
        self.generation, self.ended_generations = 1, 0
        self.callbacks: list[dict[str, Any]] = []
        body = {"collectionId": "c", "open": True, "webhookUrl": "https://h.example/x", "template": {"prompt": "{{a}}"}}
        request = parse_collection(body, now=self.clock(), context=CONTEXT)
        self.relay.collections.create(request, CONTEXT, now=self.clock())

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(count=st.integers(1, 4), valid=st.booleans())
    def add(self, count: int, valid: bool) -> None:
        """Rows after the close are a sentence; an invalid one keeps all of its request out."""
        rows: list[Any] = [{"a": str(number)} for number in range(count)]
        request = parse_more_rows({"rows": rows if valid else [*rows, {}]})
        try:
            self.relay.collections.add_rows(C, request, CONTEXT, key=None, now=self.clock())
        except Conflict:
            assert not self.open
        except InvalidRequest:
            assert self.open and not valid
        else:
            assert self.open and valid
            self.rows += ["waiting"] * count

    @rule()
    def close(self) -> None:
        """Only once."""
        try:
            self.relay.collections.close(C)
        except Conflict:
            assert not self.open
        else:
            assert self.open
            self.open = False

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        """A worker takes rows that wait, as many as it can."""
        claimed = self.relay.execution.claim("w", limit=limit)
        assert len(claimed) == min(limit, self.rows.count("waiting"))
        for item in claimed:
            number = item.job.row or 0
            assert self.rows[number - 1] == "waiting" and not self.cancelled
            self.rows[number - 1] = "running"
            self.running[number] = item

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(("complete", "fail", "release")))
    def finish(self, data: st.DataObject, how: str) -> None:
        """A row ends; an answer that came stands also after a cancel."""
        number = data.draw(st.sampled_from(sorted(self.running)))
        item = self.running.pop(number)
        if how == "complete":
            self.relay.execution.complete(item, a_completion())
            self.rows[number - 1] = "completed"
            return
        if how == "release":
            job = self.relay.execution.release(item)
        else:
            job = self.relay.execution.fail(item, a_failure(ErrorType.REFUSED, Remedy.FAIL))
        self.rows[number - 1] = "failed" if job.state.final else "waiting"

    @rule()
    def cancel(self) -> None:
        """Rows that wait end at once; those that run, when their worker sees it."""
        try:
            self.relay.collection_actions.cancel(C)
        except Conflict:
            assert self.cancelled or self._over()
            return
        assert not self._over()
        self.open, self.cancelled = False, True
        self.rows = ["failed" if row == "waiting" else row for row in self.rows]

    @rule(data=st.data(), all_failed=st.booleans())
    def retry(self, data: st.DataObject, all_failed: bool) -> None:
        """Only of a collection that has ended, and of rows that it has."""
        numbers = [number for number, row in enumerate(self.rows, 1) if row == "failed"]
        chosen = None
        if not all_failed and self.rows:
            chosen = data.draw(st.lists(st.integers(1, len(self.rows)), min_size=1, unique=True))
            numbers = chosen
        try:
            self.relay.collection_actions.retry(C, chosen)
        except Conflict:
            assert not self._over() or not numbers
            return
        assert self._over() and numbers
        for number in numbers:
            self.rows[number - 1] = "waiting"
        self.generation, self.cancelled = self.generation + 1, False

    @rule(seconds=st.sampled_from((1, 61, 3600)))
    def wait(self, seconds: int) -> None:
        """Time passes, and upkeep looks after collections."""
        self.clock.advance(seconds)
        self.relay.collection_actions.tend()

    @invariant()
    def counts_and_callbacks_are_right(self) -> None:
        """The numbers of the status are those of the model, and there is one callback for each ended generation."""
        for item in self.relay.deliveries.claim("w", limit=10):
            self.callbacks.append(json.loads(item.body))
            self.relay.deliveries.record_attempt(item, Reply(status=200))
        status = self.relay.collections.show(C)
        counts = {name: self.rows.count(name) for name in ("waiting", "running", "completed", "failed")}

        assert (status["total"], status["generation"]) == (len(self.rows), self.generation)
        assert (status["pending"], status["processing"]) == (counts["waiting"], counts["running"])
        assert (status["completed"], status["failed"]) == (counts["completed"], counts["failed"])
        assert (status["status"] in ENDED) == self._over()
        assert [body["generation"] for body in self.callbacks] == list(range(1, self.generation + self._over()))
        if self._over():
            last = self.callbacks[-1]
            assert (last["completed"], last["failed"]) == (counts["completed"], counts["failed"])

    def _over(self) -> bool:
        return not self.open and not {"waiting", "running"} & set(self.rows)


TestCollectionMachine = CollectionMachine.TestCase
TestCollectionMachine.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
