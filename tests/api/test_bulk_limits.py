"""Limits of a bulk request: memory, values and lines, whatever shape the caller chooses."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from claude_relay.core.intake import from_form
from claude_relay.core.text import ndjson, strict_json
from claude_relay.errors import InvalidRequest
from claude_relay.services import bulk
from tests.support.intake import an_intake_context

NDJSON = {"Content-Type": "application/x-ndjson"}


def post(client: Any, body: bytes) -> Any:
    return client.simulate_post("/api/claude/bulk", body=body, headers=NDJSON)


def test_invalid_lines_far_down_cost_no_more_memory_than_the_body(client):
    """CASES S1: each invalid line was parsed again with all line breaks before it, and its error kept that copy."""
    body = b"\n" * (4 << 20) + b'{"prompt": \n' * 100
    tracemalloc.start()
    try:
        answer = post(client, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert [item["statusCode"] for item in answer.json] == [400] * 100
    assert f"at line {(4 << 20) + 100}, column 12" in answer.json[-1]["error"]
    assert peak < 8 * len(body), f"{peak >> 20} MiB"


def test_lines_are_counted_while_they_are_split(client):
    """CASES S1: a million lines are refused before they are held."""
    body = b"ab\n" * 1_000_000
    tracemalloc.start()
    try:
        answer = post(client, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (answer.status_code, answer.json["error"]) == (400, "body must have 1 to 1,000 jobs, not more")
    assert peak < 8 * len(body), f"{peak >> 20} MiB"
    assert post(client, b" \n\r\n").json["error"] == "body must have 1 to 1,000 jobs, not none"


@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\r"])
def test_the_line_and_column_of_an_error_are_those_in_the_body(line_break):
    """CASES S1"""
    body = b"\xef\xbb\xbf" + line_break.join([b'{"a": 1}', b"", b" \t", b'  {"b": }', b'{"c": 3}', b"7x", b""])
    first, second, third, fourth = ndjson.loads_lines(body, max_lines=4) or ()

    assert (first, third) == ({"a": 1}, {"c": 3})
    assert "at line 4, column 9" in str(second)
    assert "at line 6, column 2" in str(fourth)
    assert ndjson.loads_lines(body, max_lines=3) is None


def test_errors_of_lines_keep_no_traceback():
    """CASES S1: a traceback holds the line and every value of it."""
    for line in (b"{", b'{"a": 1, "a": 2}', b'"\\ud800"', b"NaN"):
        [error] = ndjson.loads_lines(line, max_lines=1) or ()
        assert isinstance(error, InvalidRequest)
        assert (error.__traceback__, error.__context__, error.__cause__) == (None, None, None)


def test_the_lines_of_a_body_share_one_budget_of_values(monkeypatch):
    """CASES S1: each line alone may be within the limit; a line over it sinks no other."""
    monkeypatch.setattr(strict_json, "MAX_VALUES", 1000)
    line = b"[" + b"0," * 299 + b"0]\n"
    words = b'["' + b"," * 5000 + b'"]\n'  # commas inside a string are no values
    results = ndjson.loads_lines(words + line * 4 + b"[1]\n", max_lines=10) or ()

    assert [isinstance(item, InvalidRequest) for item in results] == [False, False, False, False, True, False]
    assert "too many values" in str(results[4])


def test_the_fields_of_a_form_share_one_budget_of_values(monkeypatch):
    """CASES S1"""
    monkeypatch.setattr(strict_json, "MAX_VALUES", 1000)
    many = "[" + "0," * 399 + "0]"
    assert from_form([("metadata", many), ("messages", many)])
    with pytest.raises(InvalidRequest, match="too many values"):
        from_form([("metadata", many), ("messages", many), ("files", many)])


def test_an_invalid_item_keeps_no_traceback(relay, monkeypatch):
    """CASES S1: the frames of a traceback hold the item."""
    kept: list[Any] = []
    monkeypatch.setattr(bulk, "_refused", lambda index, error, **_: kept.append(error) or {})
    relay.bulk.submit_bodies([{"prompt": ""}, 7], an_intake_context(), now=0.0)

    assert [error.__traceback__ for error in kept] == [None, None]
