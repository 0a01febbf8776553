"""Long strings of a body: decoded apart from the rest, with the same result and in less memory."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_relay.core.digests import digest
from claude_relay.core.jobs.submission import EncodedRequest, encode_long_prompt
from claude_relay.core.text import long_texts, strict_json
from claude_relay.core.text.strict_json import loads
from claude_relay.errors import InvalidRequest
from tests.support.builders import a_submission

_MIB = 2**20


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight bytes are a long string, and sixteen a piece of one."""
    monkeypatch.setattr(long_texts, "LONG", 8)
    monkeypatch.setattr(strict_json, "LONG", 8)
    monkeypatch.setattr(long_texts, "_PIECE", 16)


def outcome(data: bytes) -> object:
    """The value, or the problems."""
    try:
        return loads(data)
    except InvalidRequest as exc:
        return str(exc)


def plain_outcome(data: bytes, monkeypatch: pytest.MonkeyPatch) -> object:
    """The same by the parser alone."""
    with monkeypatch.context() as patch:
        patch.setattr(strict_json, "LONG", 2**40)
        return outcome(data)


_ALPHABET = st.sampled_from([*'ab \\"/\n\t\b[{,:}]', "å", "🙂", "\u2028", "NaN", "\x7f", '\\"', '\\\\"'])


@pytest.mark.usefixtures("short")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(_ALPHABET, max_size=80).map("".join), max_size=4), ascii=st.booleans())
def test_any_text_is_read_as_it_was_written(texts: list[str], ascii: bool) -> None:
    """Issue 17 item 5: with escapes, halves of characters as escapes, and characters of four bytes at every cut."""
    body = {f"n{number}": text for number, text in enumerate(texts)}

    assert loads(json.dumps(body, ensure_ascii=ascii).encode()) == body


@pytest.mark.usefixtures("short")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.lists(_ALPHABET, max_size=40).map("".join), max_size=4))
def test_each_long_text_of_a_body_is_decoded_apart(texts: list[str]) -> None:
    """Wherever it stands, also one of JSON, which is full of quotes behind backslashes; no short one is."""
    written = [json.dumps(text, ensure_ascii=False) for text in (*texts, "x" * 8)]
    expected = [json.loads(text) for text in written if len(text.encode()) >= 8 + 2]
    taken = long_texts.take_long_texts(f"[{', '.join(written)}]".encode())

    if any("NaN" in json.loads(text) for text in written if len(text.encode()) < 8 + 2):
        assert taken is None  # it could not be distinguished from the place of one
    else:
        assert taken is not None and taken[1] == expected


@pytest.mark.usefixtures("short")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.sampled_from([*'"\\{}[]:,un0dD8aN\n ', '"a"', "NaN", "x" * 9, "\\ud83d", "é"])).map("".join))
def test_any_bytes_have_the_same_outcome_as_without_it(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Value or refusal, with the same words, line and column."""
    for body in (data.encode(), f'{{"prompt": "{data}", "a": 1}}'.encode(), f'{{"long text": "{data}"'.encode()):
        assert outcome(body) == plain_outcome(body, monkeypatch)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "body",
    [
        '{"prompt": "long enough to be apart", "n": NaN}',
        '{"prompt": "long enough to be apart", "prompt": "long enough to be apart"}',
        '{"a name that is long enough": 1}',
        '{"prompt": "long, with a line\nbreak in it"}',
        '{"prompt": "long, with half a character \\ud83d"}',
        '{"prompt": "long, with a bad escape \\x"}',
        '{"prompt": "long enough and open',
        '{"prompt": "long enough to be apart"} more',
        '\ufeff{"prompt": "long enough to be apart"}',
    ],
)
def test_what_is_refused_without_it_is_refused_with_it(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(body.encode()) == plain_outcome(body.encode(), monkeypatch)


@pytest.mark.parametrize(("text", "most"), [("🙂 and some words ", 6.3), ('"quoted" 🙂\n', 5.5)])
def test_a_long_prompt_is_not_in_memory_twice_as_text(text: str, most: float) -> None:
    """Issue 17 item 5: as many times the body's size are allocated at most, beside the body; it was 6.8 and 6.5."""
    data = json.dumps({"prompt": text * (4 * _MIB // len(text.encode()))}, ensure_ascii=False).encode()
    tracemalloc.start()
    try:
        value = loads(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert value == json.loads(data)
    assert peak < most * len(data)


def test_a_long_prompt_is_kept_as_the_bytes_that_are_stored() -> None:
    """Issue 17 item 5: beside them there is no text, and their digest is that of the text."""
    prompt = "Hei 🙂\n" * _MIB
    short = a_submission("r-1")
    long = replace(short, request={**short.request, "prompt": prompt}, prompt_length=len(prompt))
    assert encode_long_prompt(short) is short
    request = encode_long_prompt(long).request

    assert isinstance(request, EncodedRequest) and "prompt" not in request
    assert request["options"] == long.request["options"]
    written = json.dumps(long.request, ensure_ascii=False, separators=(",", ":"))
    assert request.json == written.encode()
    assert digest("j", request.json) == digest("j", written)
