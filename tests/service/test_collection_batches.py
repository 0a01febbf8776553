"""Rows of a collection in batches: as few as their size allows, never before all are there, and repairs together."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from claude_relay.core.policy import Policy
from claude_relay.ports import Store
from claude_relay.services import Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission
from tests.support.collections import C, callbacks, create


@pytest.fixture
def relay(store: Store) -> Relay:
    return Relay(store, QuietNotifier(), Policy(delivery_delay=0.0), rng=random.Random(0))


def test_rows_of_one_collection_in_batches_are_not_planned_before_all_are_there(
    store: Store, relay: Relay, clock: Clock
) -> None:
    planned: list[object] = []
    real = relay.collections._rows._add_piece

    def look(*args: Any) -> Any:
        made = real(*args)
        clock.advance(60)
        planned.append(relay.batches.plan("w"))
        return made

    relay.collections._rows._add_piece = look  # type: ignore[method-assign]
    create(relay, clock, 250, mode="batch")

    assert len(planned) >= 3 and set(planned) == {None}
    assert relay.batches.plan("w") is not None


def test_rows_share_as_few_batches_as_their_size_allows(relay: Relay, clock: Clock) -> None:
    """`mode: batch`: 250 rows are one batch, put into it in steps and not sent before; a single job is in another."""
    relay.submit(a_submission("single", mode="batch"))
    create(relay, clock, 250, mode="batch")
    clock.advance(60)
    steps = 0
    while relay.batches.plan("w") is not None:
        steps += 1
    counts = []
    while (batch := relay.batches.claim_due("w")) is not None:
        counts.append((batch.count, len(relay.batches.contents(batch))))

    assert sorted(counts) == [(1, 1), (250, 250)] and steps > 3
    assert relay.collections.show(C)["processing"] == 250


def test_a_batch_of_rows_ends_at_the_limit_of_bytes(
    relay: Relay, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of the collection is left behind."""
    monkeypatch.setattr("claude_relay.services.batch_planner.MOST_BYTES", 20_000)
    create(relay, clock, 250, mode="batch")
    while relay.batches.plan("w") is not None:
        if (batch := relay.batches.claim_due("w")) is not None:
            relay.batches.sending(batch, [entry.item.custom_id for entry in relay.batches.contents(batch)])
    while (batch := relay.batches.claim_due("w")) is not None:
        relay.batches.sending(batch, [entry.item.custom_id for entry in relay.batches.contents(batch)])

    assert relay.collections.show(C)["processing"] == 250


def test_a_cancel_takes_rows_out_of_their_batch(relay: Relay, clock: Clock) -> None:
    create(relay, clock, 120, mode="batch")
    while relay.batches.plan("w") is not None:
        pass
    relay.collection_actions.cancel(C)

    assert relay.collections.show(C)["status"] == "failed"
    assert [body["failed"] for body in callbacks(relay)] == [120]


def test_repairs_of_a_batch_share_the_next_one(relay: Relay, clock: Clock) -> None:
    """Results are stored one by one: the first row that comes back waits for the rest of its batch."""
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    options = {"outputSchema": schema, "checks": ["a == 1"]}
    create(
        relay,
        clock,
        6,
        mode="batch",
        template={"prompt": "{{text}}", "options": options},
    )
    entries = send(relay)
    for number, entry in enumerate(entries):
        assert relay.batches.plan("w") is None
        answer = {"a": 2 if number < 3 else 1}
        relay.batches.record_result(entry, a_completion(json.dumps(answer), json=answer))
        clock.advance(1)

    assert len(send(relay)) == 3
    assert relay.batches.plan("w") is None


def send(relay: Relay) -> Any:
    """Plan one batch and send it; its entries."""
    while relay.batches.plan("w") is not None:
        pass
    batch = relay.batches.claim_due("w")
    assert batch is not None
    entries = relay.batches.contents(batch)
    relay.batches.sending(batch, [entry.item.custom_id for entry in entries])
    return entries


def test_each_step_that_adds_rows_to_a_batch_is_a_version_of_it(relay: Relay, clock: Clock) -> None:
    """Another worker that has seen an earlier one adds nothing; its times are those of its first row."""
    create(relay, clock, 250, mode="batch")
    clock.advance(60)
    batches = []
    while (batch := relay.batches.plan("w")) is not None:
        batches.append(batch)

    assert [batch.version for batch in batches] == list(range(1, len(batches) + 1))
    assert [batch.growing for batch in batches] == [True] * (len(batches) - 1) + [False]
    assert {batch.planned_at for batch in batches} == {clock()} and batches[-1].count == 250


def test_the_bytes_of_every_step_count_towards_the_limit_of_a_batch(
    relay: Relay, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is filled in three steps ends in the third."""
    create(relay, clock, 250, mode="batch", template={"prompt": "{{text}}"}, rows=[{"text": "x" * 9}] * 250)
    clock.advance(60)
    first = relay.batches.plan("w")
    assert first is not None
    monkeypatch.setattr("claude_relay.services.batch_planner.MOST_BYTES", first.size * 230 // first.count)
    counts: dict[str, int] = {}
    while (batch := relay.batches.plan("w")) is not None:
        counts[batch.id] = batch.count

    assert sorted(counts.values()) == [20, 230] and counts[first.id] == 230


@pytest.mark.parametrize("paused", [True, False])
def test_rows_of_a_paused_group_enter_no_batch_that_has_begun(relay: Relay, clock: Clock, paused: bool) -> None:
    """It is sent with those that it has; a group that only has limits holds none back."""
    create(relay, clock, 250, mode="batch")
    relay.set_group("default", concurrency=1, rate=None)
    clock.advance(60)
    first = relay.batches.plan("w")
    assert first is not None and first.growing
    if paused:
        relay.pause("default")
    while relay.batches.plan("w") is not None:
        pass
    batch = relay.batches.claim_due("w")

    assert batch is not None and batch.count == (first.count if paused else 250)
