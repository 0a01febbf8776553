"""Tables in CSV: encodings, delimiters, lines, and the place of each problem."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.collections.csv_input import MAX_COLUMNS, read_csv
from claude_relay.errors import InvalidRequest


def problems(data: bytes, **how: Any) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        read_csv(data, **how)
    return [f"{problem.field} {problem.problem}" for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("data", "how", "rows"),
    [
        (b"a,b\n1,2\n", {}, [{"a": "1", "b": "2"}]),
        (b"\xef\xbb\xbfa;b\r\n1;2,5\r\n", {}, [{"a": "1", "b": "2,5"}]),
        (b"a\tb\n1\t2", {}, [{"a": "1", "b": "2"}]),
        (b'"a;;;",b\n1,2\n', {}, [{"a;;;": "1", "b": "2"}]),  # in quotes they are no delimiters
        (b'"x ""y;;;""",b\n1,2\n', {}, [{'x "y;;;"': "1", "b": "2"}]),
        (b"a,b\n1;;;,2\n", {}, [{"a": "1;;;", "b": "2"}]),  # the header decides
        (b"a,b;c\n1,1;2\n", {"delimiter": "semicolon"}, [{"a,b": "1,1", "c": "2"}]),
        (b"a,b\n1,2\n", {"delimiter": "COMMA"}, [{"a": "1", "b": "2"}]),
        (b"a\tb\n1\t2\n", {"delimiter": "\\t"}, [{"a": "1", "b": "2"}]),
        ("navn\nBlåbær\n".encode("windows-1252"), {"charset": "Windows-1252"}, [{"navn": "Blåbær"}]),
        ("navn\nBlåbær\n".encode(), {"charset": "UTF8"}, [{"navn": "Blåbær"}]),
        (b"a\n\n  \n1\n", {}, [{"a": "1"}]),
        (b"a,b\n,\n", {}, [{"a": "", "b": ""}]),  # a row without values is a row
    ],
)
def test_a_table_is_read_as_spreadsheets_write_it(data: bytes, how: dict[str, Any], rows: list[dict[str, str]]) -> None:
    table = read_csv(data, **how)

    assert table.rows == rows
    assert table.columns == tuple(rows[0])


def test_each_row_has_the_line_where_it_begins() -> None:
    """Blank lines and line breaks inside a cell count."""
    assert read_csv(b'a\n\n"1\n2"\n3\n').lines == (3, 5)


@pytest.mark.parametrize(
    ("data", "how", "words"),
    [
        (b"", {}, ["rows is an empty file"]),
        (b" \r\n", {}, ["rows is an empty file"]),
        (b"a,b\n", {}, ["rows has a line of column titles and no row below it"]),
        (b"a\n1\n", {"charset": "utf-16"}, ["charset utf-16 is not one of utf-8"]),
        (b"a\n1\n", {"charset": "klingon"}, ["charset klingon is not one of utf-8"]),
        (b"a\n1\n", {"delimiter": "|"}, ["delimiter must be a comma, a semicolon or tab"]),
        (b"a\nb\n\xe5\n", {}, ["rows is not utf-8 (byte 5, line 3)"]),
        (b"a,,a\n1,2,3\n", {}, [
            "rows has no title in line 1, column 2", "rows has the title “a” twice in line 1: columns 1 and 3",
        ]),
        (b"\na,b\n1\n\n2,3,4\n", {}, [
            "rows[0] has 1 cell, and the table has 2 titles", "rows[1] has 3 cells, and the table has 2 titles",
        ]),
        (b'a\n"1\n', {}, ["rows has a quote that is opened in line 2 and never closed"]),
        (b'a\n1\n"2" x\n', {}, ["rows has a wrong quote in line 3, in the row that begins in line 3"]),
    ],
)  # fmt: skip
def test_a_problem_names_its_line_and_column(data: bytes, how: dict[str, Any], words: list[str]) -> None:
    texts = problems(data, **how)

    assert [line[: len(start)] for line, start in zip(texts, words, strict=True)] == words


def test_the_place_of_a_short_row_is_its_number_and_its_line() -> None:
    assert problems(b"a,b\n1,2\n\n3\n")[0].endswith("(row 2, line 4)")


def test_a_table_is_bounded() -> None:
    """The maximum of columns, of rows and of problems is still taken; one more is not."""
    titles = b",".join(b"c%d" % number for number in range(MAX_COLUMNS))
    assert len(read_csv(titles + b"\n" + b"," * (MAX_COLUMNS - 1) + b"\n").columns) == MAX_COLUMNS
    assert problems(titles + b",x\n" + b"," * MAX_COLUMNS + b"\n") == [
        "rows has 501 columns in line 1, the maximum is 500"
    ]
    assert len(read_csv(b"a\n" + b"1\n" * 10_000).rows) == 10_000
    assert problems(b"a\n" + b"1\n" * 10_001)[0].startswith("rows has more than 10,000 rows")
    assert len(problems(b"a\n" + b"1,2\n" * 200)) == 100
    assert problems(b"a\n1,2\n" + b"1\n" * 10_000)[0].startswith("rows has more than 10,000 rows")


@pytest.mark.parametrize(
    ("head", "titles"),
    [("a;b,c;d", 3), ("a,b;c", 2), ("a\tb", 2), ("a", 1), ('"a,b",c;d\te', 2), ("a\tb;c,d;e,f\tg\th", 4)],
)
def test_the_delimiter_is_the_most_frequent_of_the_titles(head: str, titles: int) -> None:
    """Of as many a comma comes first, then a semicolon; one column has none."""
    assert len(read_csv(f"{head}\n{head}\n".encode()).columns) == titles


def test_a_cell_may_be_longer_than_the_module_of_python_allows_and_is_not_in_a_log() -> None:
    """Its limit of 128 KiB is lifted; the content of a table is the caller's."""
    table = read_csv(b"a\n" + b"x" * 200_000 + b"\n")

    assert len(table.rows[0]["a"]) == 200_000 and "xx" not in repr(table)
