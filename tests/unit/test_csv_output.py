"""Results as CSV: what stands beside the answers."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from claude_relay.core.collections.csv_output import EXCEL, Columns, CsvForm, cell, csv_line, flatten, read_form
from claude_relay.core.text.written_numbers import read_number
from claude_relay.errors import InvalidRequest

FORM = CsvForm()


def table(results: list[dict[str, Any]], variables: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The rows of a result by their titles."""
    columns = Columns(tuple(dict.fromkeys(name for row in variables for name in row)))
    for result in results:
        columns.observe(result)
    titles = columns.header()

    return [
        dict(zip(titles, columns.cells(row, result, FORM), strict=True))
        for row, result in zip(variables, results, strict=True)
    ]


def test_failed_checks_are_named_in_columns_of_their_own() -> None:
    """A bookkeeper sees in the sheet which rows to look at, and why; rows without checks have no such columns."""
    checks = [{"name": "sum", "ok": False}, {"name": "kid", "ok": True}, {"name": "date", "ok": False}]
    bad = {"status": "completed", "json": {"total": 3}, "checks": checks, "checksFailed": 2, "requestId": "a:1"}
    good = {**bad, "checks": checks[1:2], "checksFailed": 0, "requestId": "a:2"}
    first, second = table([bad, good], [{"nr": "1"}, {"nr": "2"}])

    assert (first["checksFailed"], first["failedChecks"]) == ("2", "sum; date")
    assert (second["checksFailed"], second["failedChecks"]) == ("0", "")
    assert list(first)[-2:] == ["checksFailed", "failedChecks"]
    assert "checksFailed" not in table([{"status": "completed", "json": {}, "requestId": "a:1"}], [{}])[0]


def test_the_content_of_a_file_is_shown_by_its_size() -> None:
    """A folder of PDFs: their base64 is of no use in a sheet; other long text stays, up to what a cell holds."""
    pdf = base64.b64encode(b"%PDF-1.7\n" + bytes(range(256)) * 8).decode()
    text = base64.b64encode(b"no file, only text " * 100).decode()
    [row] = table(
        [{"status": "completed", "json": {}}], [{"file": pdf, "name": "a.pdf", "text": text, "long": "x" * 40_000}]
    )

    assert row["file"] == f"(application/pdf, {2057:,} bytes)"
    assert (row["name"], row["text"]) == ("a.pdf", text)
    assert len(row["long"]) == 32_001


def test_a_field_of_an_answer_named_as_a_column_of_the_relay_has_a_column_of_its_own() -> None:
    """`status` in the answer is the answer's, `relay_status` the row's; a row without that answer has an empty cell."""
    answered = {"status": "completed", "json": {"status": "paid", "error": 7}, "requestId": "a:1"}
    refused = {"status": "failed", "error": "refused", "requestId": "a:2"}
    first, second = table([answered, refused], [{"nr": "1"}, {"nr": "2"}])

    assert (first["status"], first["relay_status"], first["error"]) == ("paid", "completed", "7")
    assert (second["status"], second["relay_status"], second["error"]) == ("", "failed", "")
    assert second["relay_error"] == "refused"


def test_titles_that_a_spreadsheet_would_run_are_escaped_and_numbers_have_all_their_digits() -> None:
    """A title comes from the input or the answer, as a cell does; no figure of an amount is rounded away."""
    answer = {"@SUM(A1)": 3.141592653589793, "tiny": 1e-13, "whole": 12.0, "many": 12345678901234567}
    [row] = table([{"status": "completed", "json": answer}], [{"=1+1": "a"}])

    assert list(row)[:2] == ["'=1+1", "'@SUM(A1)"]
    assert [row["'@SUM(A1)"], row["tiny"], row["whole"], row["many"]] == [
        "3.141592653589793",
        "0.0000000000001",
        "12",
        "12345678901234567",
    ]


def test_numbers_are_written_as_they_are_read() -> None:
    """An amount has no binary noise, in either decimal mark."""
    assert [cell(value, FORM) for value in (37108.23, 0.1 + 0.2, 1e-7, 3.0, 12, -0.5, True, None)] == [
        "37108.23", "0.30000000000000004", "0.0000001", "3", "12", "-0.5", "true", "",
    ]  # fmt: skip
    assert cell(1234.56, EXCEL) == "1234,56"


@pytest.mark.parametrize(
    "text",
    [
        "0012345678901234567890123", "1234567890123456789012345", "0150", "12E5", "12.10", "3/4", "1-2", "2026-11",
        "11/2026", "12.345", "1.234.567,50", " 0150",
    ],
)  # fmt: skip
def test_text_that_a_spreadsheet_would_change_is_kept_as_text_in_its_file(text: str) -> None:
    """A KID of 25 digits, a postal code, an invoice number 12E5: in `excel` with an apostrophe, else as they are."""
    assert cell(text, EXCEL) == f"'{text}"
    assert cell(text, FORM) == text


@pytest.mark.parametrize(
    "text", ["1234,56", "-12,5", "0", "0,50", "123456789012345", "2026-11-30", "30.11.2026", "1250.50", "12:30", "æøå"]
)
def test_what_a_spreadsheet_reads_as_it_is_meant_is_left_alone(text: str) -> None:
    """Amounts are numbers that can be summed, dates are dates, text is text."""
    assert cell(text, EXCEL) == cell(text, FORM) == text


def test_a_number_of_the_input_keeps_its_digits() -> None:
    """1.10 comes back as 1.10, and in Norwegian as 1,10; a whole number of twenty digits as text; also in a list."""
    assert cell({"sum": [read_number("1.10"), 2]}, FORM) == '{"sum":[1.10,2]}'
    assert [cell(read_number(text), EXCEL) for text in ("1.10", "3.00", "1e3", "12345678901234567.89")] == [
        "1,10", "3,00", "1000", "12345678901234567,89",
    ]  # fmt: skip
    assert cell(12345678901234567890, EXCEL) == "'12345678901234567890"
    assert cell(12345678901234567890, FORM) == "12345678901234567890"


@pytest.mark.parametrize("text", ["1e-401", "1E-999999999", "0e999999999", "0.1e-9999999999999999999"])
def test_a_short_number_is_no_long_cell(text: str) -> None:
    """A row of a few bytes cannot take a gigabyte; exponents of a float are written out."""
    assert cell(read_number(text), FORM) == text
    assert cell(read_number("1.5e-400"), EXCEL) == f"0,{399 * '0'}15"


def test_an_answer_in_fields_does_not_stand_in_the_sheet_a_second_time_as_text() -> None:
    """Beside one that is text alone, which has a column of its own."""
    fields = {"status": "completed", "json": {"total": 3}, "response": '{"total": 3}', "requestId": "a:1"}
    text = {"status": "completed", "json": None, "response": "No invoice.", "requestId": "a:2"}
    first, second = table([fields, text], [{"nr": "1"}, {"nr": "2"}])

    assert (first["total"], first["response"]) == ("3", "")
    assert (second["total"], second["response"]) == ("", "No invoice.")


@pytest.mark.parametrize(
    ("query", "form"),
    [
        ({}, CsvForm()),
        ({"excel": True}, CsvForm(delimiter=";", decimal=",", bom=True)),
        ({"excel": True, "delimiter": ",", "decimal": ".", "bom": "0"}, CsvForm()),
        ({"delimiter": "TAB"}, CsvForm(delimiter="\t")),
        ({"decimal": ",", "bom": "1"}, CsvForm(decimal=",", bom=True)),
        ({"bom": "true", "delimiter": "", "decimal": ""}, CsvForm(bom=True)),
        ({"excel": True, "bom": "false"}, CsvForm(delimiter=";", decimal=",")),
    ],
)
def test_the_form_of_a_query_is_the_usual_one_but_for_what_it_names(query: dict[str, Any], form: CsvForm) -> None:
    """`excel` is three of them at once; empty ones are none."""
    assert read_form(**{"excel": False, "delimiter": None, "decimal": None, "bom": None, **query}) == form


def test_every_part_of_a_form_that_is_wrong_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_form(excel=False, delimiter="x", decimal=";", bom="yes")

    assert [problem.field for problem in caught.value.problems] == ["delimiter", "decimal", "bom"]


def test_without_an_answer_there_is_a_column_for_one() -> None:
    """So is it beside answers in fields, once one is text; a failed row has none of either."""
    columns = Columns(["nr"])
    assert columns.header() == ["nr", "response", "requestId", "status", "error", "costUsd"]
    columns.observe(None)
    columns.observe({"status": "failed", "json": {"b": 1}})
    assert columns.header()[:2] == ["nr", "response"]
    columns.observe({"status": "completed", "json": {"a": {"b": 1}, "c": {}}})
    assert columns.header()[:4] == ["nr", "a.b", "c", "requestId"]
    columns.observe({"status": "completed", "json": [1]})
    assert columns.header()[:4] == ["nr", "a.b", "c", "response"]


@pytest.mark.parametrize(("fields", "titles"), [(500, 500), (501, 1)])
def test_of_too_many_fields_the_answer_is_one_cell(fields: int, titles: int) -> None:
    """Five hundred are columns; the JSON of one more has them all."""
    answer = {f"f{number}": number for number in range(fields)}
    [row] = table([{"status": "completed", "json": answer, "requestId": "a:1"}], [{}])

    assert len(row) == titles + 4
    assert row.get("f7") == ("7" if titles > 1 else None)
    if titles == 1:
        assert row["json"].startswith('{"f0":0,"f1":1,')


def test_variables_are_cells_of_their_kind_and_missing_ones_are_empty() -> None:
    """A short text is never the content of a file, and one of 32,000 characters is whole."""
    tiny = base64.b64encode(b"%PDF-1.7\n").decode()
    long = "x" * 32_000
    inputs = {"n": 5, "f": 1.5, "list": [1], "none": None, "pdf": tiny, "long": long}
    first, second = table([{"status": "failed"}, {"status": "failed"}], [inputs, {}])

    assert [first[name] for name in inputs] == ["5", "1.5", "[1]", "", tiny, long]
    assert [second[name] for name in inputs] == [""] * 6


def test_a_file_of_384_bytes_is_shown_by_its_size() -> None:
    """Its base64 has 512 characters; any shorter one stays."""
    for size, shown in ((384, "(application/pdf, 384 bytes)"), (383, "(application/pdf, 383 bytes)"), (381, None)):
        text = base64.b64encode(b"%PDF-1.7\n".ljust(size, b"x")).decode()
        [row] = table([{"status": "failed"}], [{"file": text}])
        assert row["file"] == (shown or text)


def test_large_numbers_are_written_as_python_has_them() -> None:
    """Digits without an exponent below 1e16; in `excel` text where they would be lost."""
    assert [cell(value, FORM) for value in (1e14, 123456789012345.5, 1e15, -1e15, 1e16, 1e300)] == [
        "100000000000000", "123456789012345.5", "1000000000000000", "-1000000000000000", "1e+16", "1e+300",
    ]  # fmt: skip
    assert cell(10**15, EXCEL) == "'1000000000000000" and cell(10**14, EXCEL) == "100000000000000"


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@a", "\tx", "\rx"])
def test_a_cell_that_would_run_is_text_in_every_form(text: str) -> None:
    """A number with its sign is none of them."""
    assert cell(text, FORM) == cell(text, EXCEL) == f"'{text}"
    assert cell("-12,5", FORM) == "-12,5" and cell("+4712345678", FORM) == "+4712345678"


def test_a_line_has_its_quotes_and_its_end() -> None:
    """As in RFC 4180; half a character is replaced."""
    assert csv_line(["a", 'b"c', "d;e", "f,g\n", "\ud83d"], FORM) == b'a,"b""c",d;e,"f,g\n",?\r\n'
    assert csv_line(["d;e", "f,g"], EXCEL) == b'"d;e";f,g\r\n'


def test_nested_objects_are_columns_and_empty_ones_stay() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": {}, "e": [{"f": 1}]}) == {"a.b.c": 1, "d": {}, "e": [{"f": 1}]}
