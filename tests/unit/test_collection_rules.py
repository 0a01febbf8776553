"""The rules of a collection: its phases, its public status, and when its rows may start."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core.collections import bodies
from claude_relay.core.collections import collection as rules
from claude_relay.core.collections.collection import Collection, Phase, Tally
from claude_relay.core.jobs.failure import ErrorType, Repair
from claude_relay.core.jobs.job import Job, State
from claude_relay.errors import Conflict

NOW = 1_000.0
JOB = Job(
    id="c", owner="admin", request_id="invoices/", body_hash="h", state=State.COLLECTION, version=1, created_at=0.0,
    updated_at=0.0, due_at=0.0,
)  # fmt: skip
SECOND_RUN = replace(JOB, run=2)


def a_collection(phase: Phase = Phase.OPEN, **fields: Any) -> Collection:
    usual: dict[str, Any] = dict(job=JOB, phase=phase, claimable=True, total=3, touched_at=NOW - 5, columns=("a",))
    return Collection(**(usual | fields))


OPEN, CLOSED, FINISHED = (a_collection(phase) for phase in (Phase.OPEN, Phase.CLOSED, Phase.FINISHED))
STAGING, RETRYING = (a_collection(phase, claimable=False) for phase in (Phase.STAGING, Phase.RETRYING))
CANCELLED = a_collection(claimable=False, cancel_requested_at=1.0)
ENDED = a_collection(Phase.FINISHED, status="partial", finished_at=3.0, spent_usd=2.0, cancel_requested_at=1.0)
TALLY = Tally(completed=2, failed=1, cost_usd=0.5, saved_usd=0.25, checks_failed=1)


def published(collection: Collection, *, stays_open: bool = False) -> Collection:
    return rules.publish(collection, added=2, columns=("b", "a"), stays_open=stays_open, now=NOW)


TABLE: dict[str, tuple[Collection, Callable[[Collection], Collection], dict[str, Any]]] = {
    "publish the first rows": (
        STAGING, published,
        {"phase": Phase.CLOSED, "claimable": True, "total": 5, "columns": ("a", "b"), "touched_at": NOW},
    ),
    "publish the first rows of several requests": (
        STAGING, lambda each: published(each, stays_open=True),
        {"phase": Phase.OPEN, "claimable": True, "total": 5, "columns": ("a", "b"), "touched_at": NOW},
    ),
    "publish further rows": (OPEN, published, {"total": 5, "columns": ("a", "b"), "touched_at": NOW}),
    "publish rows of a cancelled one": (CANCELLED, published, {"total": 5, "columns": ("a", "b"), "touched_at": NOW}),
    "begin rows": (OPEN, lambda each: rules.begin_rows(each, now=NOW), {"claimable": False, "touched_at": NOW}),
    "keep storing": (STAGING, lambda each: rules.keep_storing(each, now=NOW), {"touched_at": NOW}),
    "abandon rows": (a_collection(claimable=False), rules.abandon_rows, {"claimable": True}),
    "abandon rows of a cancelled one": (CANCELLED, rules.abandon_rows, {}),
    "close": (OPEN, rules.close, {"phase": Phase.CLOSED}),
    "close a cancelled one": (CANCELLED, rules.close, {"phase": Phase.CLOSED}),
    "cancel an open one": (
        OPEN, lambda each: rules.cancel(each, now=NOW),
        {"phase": Phase.CLOSED, "claimable": False, "cancel_requested_at": NOW},
    ),
    "cancel in a retry": (RETRYING, lambda each: rules.cancel(each, now=NOW), {"cancel_requested_at": NOW}),
    "finish": (
        a_collection(Phase.CLOSED, claimable=False), lambda each: rules.finish(each, TALLY, now=NOW),
        {"phase": Phase.FINISHED, "claimable": True, "finished_at": NOW, "status": "partial", "completed": 2,
         "failed": 1, "cost_usd": 0.5, "saved_usd": 0.25, "checks_failed": 1},
    ),
    "begin a retry": (
        ENDED, lambda each: rules.begin_retry(each, SECOND_RUN, (1, 2), now=NOW),
        {"job": SECOND_RUN, "phase": Phase.RETRYING, "claimable": False, "cancel_requested_at": None,
         "finished_at": None, "status": None, "spent_usd": 0.0, "retry_rows": (1, 2), "touched_at": NOW},
    ),
    "end a retry": (
        replace(RETRYING, retry_rows=(1,)), rules.end_retry,
        {"phase": Phase.CLOSED, "claimable": True, "retry_rows": None},
    ),
    "end a retry that was cancelled": (
        replace(RETRYING, cancel_requested_at=1.0), rules.end_retry, {"phase": Phase.CLOSED},
    ),
    "erase": (replace(FINISHED, template_body={"prompt": "x"}), rules.erase, {"template_body": None}),
    "begin the purge": (FINISHED, rules.begin_purge, {"phase": Phase.PURGING}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_change_of_a_collection_changes_these_fields_and_no_others(name: str) -> None:
    before, move, fields = TABLE[name]
    after = move(before)

    changed = {name: value for name, value in vars(after).items() if value != vars(before)[name]}
    assert changed == {"version": 2, **fields}


@pytest.mark.parametrize("phase", Phase)
def test_rows_follow_and_a_close_is_taken_only_while_it_is_open(phase: Phase) -> None:
    moves: tuple[Callable[[Collection], Collection], ...] = (lambda each: rules.begin_rows(each, now=NOW), rules.close)
    for move in moves:
        if phase is Phase.OPEN:
            move(a_collection(phase))
        else:
            with pytest.raises(Conflict):
                move(a_collection(phase))
    with pytest.raises(Conflict, match="storing rows"):
        rules.close(a_collection(claimable=False))


@pytest.mark.parametrize("phase", Phase)
def test_a_collection_is_retried_once_it_has_ended_and_cancelled_before_that(phase: Phase) -> None:
    ended = phase is Phase.FINISHED
    moves: dict[bool, Callable[[Collection], Collection]] = {
        ended: lambda each: rules.begin_retry(each, JOB, None, now=NOW),
        not ended: lambda each: rules.cancel(each, now=NOW),
    }
    for taken, move in moves.items():
        if taken:
            move(a_collection(phase))
        else:
            with pytest.raises(Conflict):
                move(a_collection(phase))
    with pytest.raises(Conflict, match="already"):
        rules.cancel(CANCELLED, now=NOW)


@pytest.mark.parametrize(
    ("collection", "tally", "status"),
    [
        (OPEN, Tally(pending=2), "open"),
        (STAGING, Tally(), "open"),
        (CLOSED, Tally(pending=2), "pending"),
        (CLOSED, Tally(pending=2, processing=1), "processing"),
        (CLOSED, Tally(pending=2, completed=1), "processing"),
        (CLOSED, Tally(pending=2, failed=1), "processing"),
        (replace(CLOSED, job=SECOND_RUN), Tally(pending=2), "processing"),
        (ENDED, Tally(), "partial"),
    ],
)
def test_the_public_status(collection: Collection, tally: Tally, status: str) -> None:
    assert rules.status_of(collection, tally) == status


@pytest.mark.parametrize(
    ("tally", "outcome", "state"),
    [
        (Tally(completed=2), "completed", State.COMPLETED),
        (Tally(completed=1, failed=1), "partial", State.COLLECTION),
        (Tally(failed=2), "failed", State.FAILED),
    ],
)
def test_the_outcome_and_its_tombstone(tally: Tally, outcome: str, state: State) -> None:
    """A purged collection still says how it ended, and how many rows it had."""
    ended = rules.finish(CLOSED, tally, now=NOW)
    purged = rules.purged(replace(JOB, state=rules.ended_state(ended)), total=7)

    assert (ended.status, rules.ended_state(ended)) == (outcome, state)
    assert (purged.status, purged.total, purged.visible) == (outcome, 7, False)


def test_rows_are_counted_by_state() -> None:
    states = {
        State.QUEUED: (1, None, None), State.HELD: (2, 0.1, None), State.RUNNING: (4, None, None),
        State.BATCHED: (8, None, None), State.COMPLETED: (16, 0.2, 0.1), State.FAILED: (32, 0.3, 0.2),
        State.CANCELLED: (64, None, None),
    }  # fmt: skip
    tally = rules.tally_of(states)

    assert (tally.pending, tally.processing, tally.completed, tally.failed, tally.total) == (3, 12, 16, 96, 127)
    assert (tally.cost_usd, tally.saved_usd) == (0.6, 0.3)
    assert rules.tally_of({State.QUEUED: (1, None, None)}) == Tally(pending=1)


@pytest.mark.parametrize(
    ("collection", "seconds", "storing"),
    [
        (STAGING, 59.9, True),
        (STAGING, 60.0, False),
        (a_collection(claimable=False), 1.0, True),
        (OPEN, 1.0, False),
        (a_collection(Phase.CLOSED, claimable=False), 1.0, False),
    ],
)
def test_a_request_that_stores_rows_is_taken_for_dead_after_a_minute(
    collection: Collection, seconds: float, storing: bool
) -> None:
    assert rules.is_storing(collection, now=collection.touched_at + seconds) is storing


def test_names_and_phases_that_readers_see() -> None:
    assert (OPEN.collection_id, OPEN.row_id(3), OPEN.id, OPEN.generation) == ("invoices", "invoices:3", "c", 1)
    assert [phase for phase in Phase if not a_collection(phase).visible] == [Phase.STAGING, Phase.PURGING]
    failure = rules.over_budget(1.5, JOB)
    assert (failure.sent, failure.message.startswith("maxCostUsd 1.5 ")) == (False, True)


@pytest.mark.parametrize(
    ("calls", "repair", "end"),
    [
        (0, None, "was called"),
        (1, None, "was called again"),
        (1, Repair(text="{}", problem="a is missing", kinds=(ErrorType.SCHEMA,)), "to repair its answer: a is missing"),
    ],
)
def test_a_row_that_waits_at_the_maximum_cost_fails_with_what_it_was_about(
    calls: int, repair: Repair | None, end: str
) -> None:
    failure = rules.over_budget(1.5, replace(JOB, calls=calls), repair)

    assert failure.message.endswith(end) and failure.partial == ("" if repair is None else "{}")


def callback(limit: int, results: list[bytes] | None, *failures: Job) -> bytes:
    return bodies.callback_body(
        OPEN, TALLY, usage={}, failures=failures, results=results, results_url="https://r/x", metadata=None,
        ack_url=None, limit=limit, now=NOW,
    )  # fmt: skip


def test_a_callback_has_its_results_while_they_fit() -> None:
    """To the byte; beyond that it says that they are read elsewhere."""
    whole = callback(1_000_000, [b'{"row":1}', b'{"row":2}'])
    body = json.loads(whole)

    assert (body["results"], body["checksFailed"], body["metadata"]) == ([{"row": 1}, {"row": 2}], 1, {})
    assert callback(len(whole), [b'{"row":1}', b'{"row":2}']) == whole
    for cut in (callback(len(whole) - 1, [b'{"row":1}', b'{"row":2}']), callback(1_000_000, None)):
        assert json.loads(cut)["resultsTruncated"] is True and "results" not in json.loads(cut)


@pytest.mark.parametrize(
    ("error", "shown"), [("x" * 500, "x" * 500), ("x" * 501, "x" * 500 + "…"), (None, "the job failed")]
)
def test_a_failed_row_is_listed_with_the_beginning_of_its_error(error: str | None, shown: str) -> None:
    row = replace(JOB, request_id="invoices:3", row=3, error=error, error_type="upstream" if error else None)
    [failure] = json.loads(callback(1_000_000, None, row))["failures"]

    assert failure == {
        "row": 3, "requestId": "invoices:3", "error": shown, "errorType": "upstream" if error else "internal",
    }  # fmt: skip


def test_a_row_in_the_callback_has_what_its_own_callback_has_but_for_what_is_empty() -> None:
    """Zero and false are values: a filter of Make compares `checksFailed` with 0. `metadata` says which line it was."""
    body = {"requestId": "invoices:1", "status": "completed", "response": "false", "json": False, "checksFailed": 0}
    head = {"row": 1, **body}

    assert bodies.short_result(1, {**body, "metadata": {"line": 7}}) == head | {"metadata": {"line": 7}}
    assert bodies.short_result(1, {**body, "metadata": {}, "truncated": False, "error": "", "content": None}) == head


def test_the_usage_of_rows_is_summed_by_its_counts_alone() -> None:
    """A gateway may send other values beside them."""
    total = {"input_tokens": 1}
    bodies.add_usage(total, {"input_tokens": 2, "output_tokens": 3, "cached": True, "tier": "standard"})
    bodies.add_usage(total, None)

    assert total == {"input_tokens": 3, "output_tokens": 3}
