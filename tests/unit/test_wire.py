"""JSON bodies: key order, times, and the cut of large callbacks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core import wire
from claude_relay.core.jobs.job import JOB_STATES, UNFINISHED, Job, State
from tests.support.builders import a_completion

JOB = Job(
    id="j", owner="admin", request_id="r-1", body_hash="h", state=State.COMPLETED, version=1, created_at=0.0,
    updated_at=0.0, due_at=0.0, attempt=1, cost_usd=0.00000012, error_type="refused", error="declined",
)  # fmt: skip


def success(text: str = "Svar", **fields: object) -> dict[str, object]:
    done = a_completion(text, **fields)
    return wire.success_body(JOB, done, metadata={"a": 1}, warnings=("w",), ack_url=None, now=0.0)


def failure() -> dict[str, object]:
    return wire.failure_body(JOB, partial="half", metadata=None, warnings=(), ack_url=None, now=0.0)


def webhook_body(body: dict[str, Any], **options: Any) -> dict[str, Any] | None:
    return wire.webhook_body(body, size=len(wire.encode(body)), **options)


@pytest.mark.parametrize(
    ("mode", "lane", "calls", "done", "failed"),
    [
        ("live", "live", 1, None, None),
        ("batch", "batch", 1, 0.25, 0.5),
        ("batch", "batch", 0, 0.25, 0.0),
        ("auto", "live", 1, 0.0, 0.0),
    ],
)
def test_a_saving_is_named_where_a_batch_was_possible(
    mode: str, lane: str, calls: int, done: float | None, failed: float | None
) -> None:
    """A call that failed in a batch has cost half; one that was made live, or not at all, has saved nothing."""
    job = replace(JOB, mode=mode, lane=lane, calls=calls, cost_usd=0.5)
    common: dict[str, Any] = {"metadata": None, "warnings": (), "ack_url": None, "now": 0.0}

    assert wire.success_body(job, a_completion(saved_usd=0.25), **common).get("savedUsd") == done
    assert wire.failure_body(job, partial="", **common).get("savedUsd") == failed


def test_success_keys_stand_in_the_contracts_order() -> None:
    assert (
        list(success())
        == (
            "requestId response status timestamp usage model stopReason json truncated costUsd mode attempts metadata"
            " warnings ackUrl"
        ).split()
    )


def test_failure_keys_begin_with_the_minimal_ones() -> None:
    body = failure()

    promised = "requestId error status timestamp errorType attempts usage costUsd partialResponse metadata".split()
    assert list(body)[: len(promised)] == promised
    assert body["status"] == "failed"


@pytest.mark.parametrize(
    "at, text",
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1768473000.0, "2026-01-15T10:30:00.000Z"),
        (0.0004, "1970-01-01T00:00:00.000Z"),
        (0.9996, "1970-01-01T00:00:01.000Z"),
        (0.1239, "1970-01-01T00:00:00.124Z"),
    ],
)
def test_times_have_three_decimals_and_a_z(at: float, text: str) -> None:
    assert wire.timestamp(at) == text


def test_a_cost_is_never_rounded_to_nothing() -> None:
    assert json.loads(wire.encode(success()))["costUsd"] == 0.00000012


@pytest.mark.parametrize("letter", ["x", "å", "\U0001f600", "\ud83d", '"\\\n\x01'])
def test_a_long_text_is_encoded_as_the_shorter_ones_are(letter: str) -> None:
    """A long text is encoded in pieces, to the bytes of an encoder that has it as a whole."""
    body = {"é": 1, "response": letter * (2**20 + 7), "json": {"a": [None, 0.5, "b"]}, "warnings": [], "ackUrl": None}
    whole = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    assert wire.encode(body) == whole
    with pytest.raises(ValueError):
        wire.encode(body | {"costUsd": float("nan")})


def test_a_body_within_the_limit_is_sent_unchanged() -> None:
    assert webhook_body(success(), callback="full", limit=10_000, result_url=None) is None


def test_a_minimal_success_callback_has_the_minimal_keys_only() -> None:
    sent = webhook_body(success(), callback="seed", limit=10_000, result_url=None)

    assert sent is not None
    assert list(sent) == ["requestId", "response", "status", "timestamp", "usage", "model", "stopReason"]


def test_a_minimal_failure_callback_has_the_minimal_keys_only() -> None:
    sent = webhook_body(failure(), callback="seed", limit=10_000, result_url=None)

    assert sent is not None
    assert list(sent) == ["requestId", "error", "status", "timestamp"]


def test_no_more_of_an_answer_is_cut_off_than_must_be() -> None:
    """The limit is used up, for characters of every size in JSON."""
    for letter in ("x", "ø", "\n", "\x01", "\\", '"', "🎈"):
        sent = webhook_body(success(letter * 5000), callback="full", limit=4000, result_url="/r")

        assert sent is not None
        assert 4000 - 7 < len(wire.encode(sent)) <= 4000


def test_metadata_and_warnings_are_dropped_where_they_are_too_large() -> None:
    """Metadata, warnings and a long error are no reason to pass a receiver's limit."""
    body = {**failure(), "metadata": {"a": "x" * 5000}, "warnings": ["y" * 5000], "error": "z" * 5000}
    sent = webhook_body(body, callback="full", limit=1024, result_url="/r")

    assert sent is not None
    assert len(wire.encode(sent)) <= 1024
    assert (sent["status"], sent["requestId"], sent["resultUrl"]) == ("failed", "r-1", "/r")


@pytest.mark.parametrize("letter", ["\n", "\x01", "\\", '"', "ø", "🎈"])
def test_no_cut_splits_a_character_or_its_escape(letter: str) -> None:
    """At every byte."""
    text = f"a{letter}" * 5
    cuts = [wire._cut_text(text, room) for room in range(50)]

    assert all(text.startswith(cut) for cut in cuts)
    assert set(cuts) == {text[:length] for length in range(len(text) + 1)}


@given(st.text(st.sampled_from('\\u0041"ø\n\x01🎈'), max_size=400), st.integers(0, 800))
def test_a_beginning_is_a_beginning_and_fits(text: str, room: int) -> None:
    cut = wire._cut_text(text, room)

    assert text.startswith(cut) and len(wire.encode(cut)) - 2 <= room


@given(st.text(max_size=4000), st.integers(600, 3000))
def test_a_body_over_the_limit_is_cut_and_has_the_result_url(text: str, limit: int) -> None:
    """For all characters: never over the limit, always valid JSON, never half a character."""
    body = success(text + "x" * limit, json={"big": "y" * limit})
    sent = webhook_body(body, callback="full", limit=limit, result_url="https://r.example/api/result/r-1")

    assert sent is not None
    raw = wire.encode(sent)
    assert len(raw) <= limit
    told = json.loads(raw)
    assert told["responseTruncated"] is True and told["resultUrl"].endswith("/r-1")
    assert "json" not in told and str(body["response"]).startswith(told["response"])


@given(st.text(st.characters()))
def test_no_text_breaks_the_encoding(text: str) -> None:
    json.loads(wire.encode({"a": text}))


def test_a_job_is_unfinished_until_its_run_has_an_outcome() -> None:
    """The job that carries the callback of a collection makes no call, and is neither."""
    assert set(UNFINISHED) == {State.QUEUED, State.HELD, State.RUNNING, State.BATCHED}
    assert set(JOB_STATES) - set(UNFINISHED) == {State.COMPLETED, State.FAILED, State.CANCELLED}


def test_every_state_has_one_of_the_four_public_words_and_is_listed_under_it() -> None:
    assert set(wire.STATUS) == set(State)
    assert list(wire.STATES) == ["pending", "processing", "completed", "failed"]
    assert [state for states in wire.STATES.values() for state in states] == sorted(
        JOB_STATES, key=lambda state: list(wire.STATES).index(wire.STATUS[state])
    )
