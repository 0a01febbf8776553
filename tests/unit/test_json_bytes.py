"""JSON as bytes: a long text is encoded as the standard library encodes it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.text import json_bytes

_EVERY = "".join(map(chr, range(0x180))) + "\u2028\u2029\ufeff\uffff🙂"


def _standard(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@pytest.mark.parametrize("text", [_EVERY, *_EVERY[:0x30], '\\n\n"\\"', "half \ud83d of it", 'C:\\new\\table "x"\r\n\t'])
@pytest.mark.parametrize("size", [json_bytes.LONG + 1, 2**16 + 1])
def test_a_long_text_is_escaped_as_any_other(text: str, size: int) -> None:
    """Every character that JSON escapes, alone and beside others, also where a piece ends."""
    for value in ({"prompt": "x" * size + text}, {"a": 1, "prompt": text * (size // len(text) + 1), "b": [text]}):
        assert json_bytes.encode(value) == _standard(value)


@given(st.text(min_size=1))
def test_any_text_is_escaped_as_the_standard_library_does(text: str) -> None:
    value = {"prompt": text + "x" * json_bytes.LONG, text: None}

    assert json_bytes.encode(value) == _standard(value)
