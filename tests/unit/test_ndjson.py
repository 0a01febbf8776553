"""NDJSON: the lines with their numbers and columns, and their limit."""

from __future__ import annotations

import pytest

from claude_relay.core.text.ndjson import loads_lines
from claude_relay.errors import InvalidRequest


def read(data: bytes, *, max_lines: int = 9) -> list[object]:
    """The values, and the problems as text."""
    lines = loads_lines(data, max_lines=max_lines)
    assert lines is not None
    return [str(line) if isinstance(line, InvalidRequest) else line for line in lines]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_line_is_a_value_whatever_ends_it(mark: bytes, end: bytes) -> None:
    """With a byte order mark and without; blank lines are none, nor is the end of the last one."""
    assert read(mark + end.join([b'{"a": 1}', b"", b" [2] ", b"3", b""])) == [{"a": 1}, [2], 3]
    assert read(mark) == read(mark + end) == []


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_problem_has_the_line_and_column_of_the_whole_body(mark: bytes, end: bytes) -> None:
    """Blank lines count, and so do spaces before the value; the other lines are read all the same."""
    first, good, last = read(mark + end.join([b"  nope", b"", b"7", b"\t[nope]"]))

    assert "line 1, column 3" in str(first) and "line 4, column 3" in str(last)
    assert good == 7


def test_the_limit_counts_lines_that_are_not_blank() -> None:
    """As many are read, one more and none is."""
    assert read(b"1\n\n2\n", max_lines=2) == [1, 2]
    assert loads_lines(b"1\n2\nnope", max_lines=2) is None
