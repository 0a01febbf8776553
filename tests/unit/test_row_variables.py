"""The variables of a row, whose long texts are places in its request."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.digests import digest
from claude_relay.core.text.written_numbers import read_number
from claude_relay.storage.sql import row_variables

_PDF = "JVBERi0xLjcK" * 500
_MAIL = 'Sa "nei"\n\tog gikk: C:\\temp\\næring 🧾 ' * 20
_TEXT = "en lang tekst som står i forespørselen"
_VALUES = st.one_of(st.text(), st.text(min_size=30), st.integers(), st.none())


def _stored(request: dict[str, object]) -> str:
    return json.dumps(request, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("text", [_PDF, _MAIL, "\u0000\u2028 slutt på teksten, enda lenger"])
def test_a_text_that_the_request_has_is_not_stored_again(text: str) -> None:
    """A file or a mail as the variable of a template: the row takes as much of the disk as a job with it."""
    request = _stored({"files": [{"data": text}], "prompt": f"Les {text} nøye."})
    stored = row_variables.encode({"n": 7, "file": text}, request)

    assert len(stored) < 50
    assert row_variables.decode("j", stored, request, digest("j", request)) == {"n": 7, "file": text}


@given(
    variables=st.dictionaries(st.text(), _VALUES, max_size=4),
    around=st.text(max_size=5),
    data=st.data(),
)
def test_any_variables_come_back_as_they_were_sent(
    variables: dict[str, object], around: str, data: st.DataObject
) -> None:
    """Also where a text begins in the middle of an escape, or stands in another one."""
    texts = [value for value in variables.values() if isinstance(value, str)]
    prompt = around + "".join(data.draw(st.permutations(texts))) + around
    request = _stored({"prompt": prompt, "max_tokens": 3})
    stored = row_variables.encode(variables, request)

    assert row_variables.decode("j", stored, request, digest("j", request)) == variables


def test_numbers_keep_the_digits_that_were_sent() -> None:
    """1.10 in a sheet is not 1.1 in its results."""
    variables = json.loads(f'{{"sum": 1.10, "text": "{_TEXT}"}}', parse_float=read_number)
    for request in ("{}", _stored({"prompt": variables["text"]})):
        stored = row_variables.encode(variables, request)
        assert '"sum":1.10' in stored
        decoded = row_variables.decode("j", stored, request, digest("j", request))
        assert decoded is not None and decoded["sum"].text == "1.10"


def test_damage_costs_the_input_of_one_row_and_not_the_results() -> None:
    """Content that the disk has changed is never shown as if it were the caller's."""
    request = _stored({"prompt": _TEXT})
    stored = row_variables.encode({"n": 1, "text": _TEXT}, request)

    assert row_variables.decode("j", stored, request.replace("lang", "long"), digest("j", request)) == {"n": 1}
    assert row_variables.decode("j", stored[:-4], request, digest("j", request)) is None
    assert row_variables.decode("j", "[1,2]", request, digest("j", request)) is None
    assert row_variables.decode("j", None, None, None) is None
