"""Request ids and body hashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.intake import from_form, parse
from claude_relay.core.intake.idempotency import unquoted
from tests.support.intake import NOW, PDF, accepted, an_intake_context, refused

BODY = {
    "prompt": "Les fakturaen",
    "requestId": "r-1",
    "webhookUrl": "https://a.example/x",
    "delay": "10m",
    "options": {"maxTokens": 100, "model": "smart", "temperature": 0.5},
    "metadata": {"a": 1, "b": [1, 2]},
    "files": [{"data": PDF, "name": "f.pdf"}],
}


def hash_of(body, **how):
    return accepted(body, **how).body_hash


@pytest.mark.parametrize(
    "same",
    [
        dict(reversed(BODY.items())),
        {**BODY, "requestId": "r-2"},
        {**BODY, "requestId": None},
        {**BODY, "group": "", "messages": None, "retain": " "},
        {**BODY, "unheard": "of"},
        {**BODY, "options": {"temperature": "0.5", "model": "smart", "maxTokens": "100"}},
        {**BODY, "options": {**BODY["options"], "maxTokens": 100.0, "effort": ""}},
        {**BODY, "metadata": {"b": [1, 2], "a": 1}},
        {**BODY, "files": [{"data": f"data:application/pdf;base64,{PDF[:8]}\n{PDF[8:]}", "name": "f.pdf"}]},
        {**BODY, "delay": " 10m "},
    ],
)
def test_the_same_request_has_the_same_hash_however_it_is_written(same):
    """Order, empty fields, quotes around numbers and the id itself make no difference."""
    assert hash_of(same) == hash_of(BODY)


@pytest.mark.parametrize(
    "other",
    [
        {**BODY, "prompt": "Les fakturaen."},
        {**BODY, "webhookUrl": "https://a.example/y"},
        {**BODY, "webhookHeaders": {"x-key": "1"}},
        {**BODY, "delay": "11m"},
        {**BODY, "metadata": {"a": 1, "b": [2, 1]}},
        {**BODY, "metadata": {"a": "1", "b": [1, 2]}},
        {**BODY, "options": {**BODY["options"], "model": "claude-opus-5-5"}},
        {**BODY, "options": {**BODY["options"], "raw": {"x": 1}}},
        {**BODY, "files": [{"data": PDF}]},
        {**BODY, "retain": "metadata"},
        {**BODY, "priority": 1},
    ],
)
def test_a_different_request_has_a_different_hash(other):
    assert hash_of(other) != hash_of(BODY)


def test_a_repeat_has_the_same_hash_later_and_under_other_defaults():
    """`10m` from another time is the same request; so is the default model, whichever it is then."""
    later = parse(BODY, now=NOW + 3600, context=an_intake_context(model="claude-haiku-5-5", max_tokens=1))

    assert later.body_hash == hash_of(BODY)


def test_a_form_and_json_are_the_same_request():
    form = from_form(
        [
            ("files[0].name", "f.pdf"),
            ("files[0].data", PDF),
            ("options.model", "smart"),
            ("options.temperature", "0.5"),
            ("options.maxTokens", "100"),
            ("metadata", '{"a": 1, "b": [1, 2]}'),
            ("webhookUrl", "https://a.example/x"),
            ("delay", "10m"),
            ("group", ""),
            ("prompt", "Les fakturaen"),
        ]
    )

    assert hash_of(form, form=True) == hash_of(BODY)


@pytest.mark.parametrize("header", ["k-1", '"k-1"', ' "k-1" ', "k-1 "])
def test_the_idempotency_key_is_the_request_id(header):
    """Quoted as in the standard, or bare as clients send it."""
    assert accepted({}, idempotency_key=header).request_id == "k-1"
    assert accepted({"requestId": "k-1"}, idempotency_key=header).request_id == "k-1"


@pytest.mark.parametrize("header", [None, "", "  ", '""'])
def test_an_empty_idempotency_key_is_ignored(header):
    assert accepted({"requestId": "r"}, idempotency_key=header).request_id == "r"


def test_two_different_ids_are_refused():
    assert "Idempotency-Key" in refused({"requestId": "a"}, idempotency_key='"b"')["requestId"]


@pytest.mark.parametrize("header", ["a b", '"a/b"', "x" * 129, '"', "../x", "å"])
def test_an_idempotency_key_must_be_a_valid_request_id(header):
    assert "must be 1 to 128" in refused({}, idempotency_key=header)["Idempotency-Key"]


@given(st.text(alphabet='ab"\\ '))
def test_a_quoted_idempotency_key_is_unquoted(key):
    """Escapes are undone once, and only in a quoted value."""
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'

    assert unquoted(quoted) == key


def test_the_hash_contains_no_text_of_the_caller():
    """It is stored for a month, even if everything else is erased."""
    digest = parse(BODY, now=NOW, context=an_intake_context()).body_hash

    assert len(digest) == 64 and set(digest) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ('"a"', "a"),
        (" a ", "a"),
        ('""', ""),
        ('"', '"'),
        ('"a', '"a'),
        ('a"', 'a"'),
        (r'"a\"b\\c"', r'a"b\c'),
        ("", ""),
    ],
)
def test_a_key_in_quotation_marks_is_the_key_without_them(header: str, value: str) -> None:
    """As in the standard, or bare; a single mark is part of the key."""
    assert unquoted(header) == value
