"""The fields of a collection and the forms of its rows."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.collections.collection import Kind
from claude_relay.core.collections.csv_input import Table
from claude_relay.core.collections.intake import CollectionRequest, parse_collection, parse_more_rows
from claude_relay.errors import InvalidRequest
from tests.support.intake import NOW, an_intake_context

CONTEXT = an_intake_context()
BODY: dict[str, Any] = {"template": "invoice", "rows": [{"a": 1}]}


def read(body: Any = BODY, **how: Any) -> CollectionRequest:
    return parse_collection(body, now=NOW, context=CONTEXT, **how)


def refused(body: Any, **how: Any) -> dict[str, str]:
    """The problems by field."""
    with pytest.raises(InvalidRequest) as caught:
        read(body, **how)
    return {problem.field: problem.problem for problem in caught.value.problems}


def test_a_collection_of_no_more_than_rows_has_the_defaults_of_the_contract() -> None:
    """It is closed, calls back once, refuses invalid rows, and is in the group `default`."""
    made = read()

    assert (made.kind, list(made.table.rows), made.table.columns) == (Kind.ROWS, [{"a": 1}], ("a",))
    assert (made.stays_open, made.each, made.on_invalid, made.group) == (False, False, "refuse", "default")
    assert (made.collection_id, made.webhook_url, made.webhook_empty, made.max_cost_usd) == (None, None, False, None)
    assert (made.defaults, made.metadata, made.warnings) == ({}, None, ())


def test_columns_are_those_of_all_rows_in_their_order_and_jobs_have_none() -> None:
    """A row may have a name that no earlier one has; a row that is no object is refused later, with its number."""
    made = read({"template": "t", "rows": [{"b": 1, "a": 2}, 7, {"c": 3, "b": 4}]})

    assert made.table.columns == ("b", "a", "c")
    assert read({"jobs": [{"prompt": "x"}]}).table.columns == ()
    assert parse_more_rows({"rows": [{"d": 1}]}).table.columns == ("d",)


def test_the_defaults_of_the_rows_are_those_that_were_sent() -> None:
    """As they were written, for each row is checked with them; empty ones are none."""
    given = {"mode": "batch", "needBy": "2h", "group": "g", "priority": "5", "deadline": "1d", "retain": ""}

    assert read({**BODY, **given}).defaults == {name: value for name, value in given.items() if value}
    assert read({**BODY, **given}).group == "g"
    wrong = {"mode": "fast", "needBy": "soon", "group": "?", "priority": 86_401, "deadline": "0s", "retain": "no"}
    assert refused({**BODY, **wrong}).keys() == wrong.keys()
    assert read({**BODY, "priority": 86_400}).defaults == {"priority": 86_400}


@pytest.mark.parametrize(("text", "flag"), [("true", True), (" TRUE ", True), ("1", True), ("0", False), ("", False)])
def test_flags_of_a_form_are_words(text: str, flag: bool) -> None:
    """A form has no other values; JSON has true and false."""
    for value in (text, flag):
        made = read({**BODY, "open": value, "each": value, "webhookUrl": "https://a.example"}, form=True)
        assert (made.stays_open, made.each) == (flag, flag)
    assert set(refused({**BODY, "open": "yes", "each": 2, "webhookUrl": "https://a.example"})) == {"open", "each"}


def test_rows_may_be_missing_only_while_it_stays_open() -> None:
    """An open one without rows has a kind as soon as it has a template."""
    empty = read({"open": True})
    assert (empty.kind, list(empty.table.rows), empty.stays_open) == (None, [], True)
    assert read({"open": True, "template": "t"}).kind is Kind.ROWS
    assert read({"open": True, "rows": [], "template": "t"}).kind is Kind.ROWS
    for body in ({}, {"template": "t"}, {"template": "t", "rows": []}):
        assert set(refused(body)) == {"rows"}


def test_each_form_of_rows_excludes_the_others() -> None:
    """A template is for rows, and a job is a complete body."""
    jobs = [{"prompt": "x"}]

    assert read({"jobs": jobs}).kind is Kind.JOBS
    assert set(refused({"rows": [{"a": 1}], "jobs": jobs})) == {"jobs"}
    assert set(refused({"jobs": jobs, "template": "t"})) == {"template"}
    assert set(refused({"rows": [{"a": 1}]})) == {"template"}
    table = Table(rows=[{"a": "1"}], columns=("a",))
    assert read({"template": "t"}, table=table).table is table
    assert set(refused(BODY, table=table)) == {"rows"}
    assert set(refused({"template": "t", "jobs": jobs}, table=table)) == {"jobs"}


@pytest.mark.parametrize(("kind", "beside"), [("rows", {"template": "t"}), ("jobs", {})])
def test_ten_thousand_rows_are_the_most_of_a_request(kind: str, beside: dict[str, Any]) -> None:
    """The problem is at the field that has them."""
    assert len(read({kind: [{}] * 10_000, **beside}).table.rows) == 10_000
    assert set(refused({kind: [{}] * 10_001, **beside})) == {kind}


def test_a_cost_limit_is_more_than_nothing() -> None:
    assert read({**BODY, "maxCostUsd": "0.5"}).max_cost_usd == 0.5
    for cost in (0, -1):
        assert set(refused({**BODY, "maxCostUsd": cost})) == {"maxCostUsd"}


def test_callbacks_of_each_row_need_a_webhook() -> None:
    """Of a URL that is wrong itself no more than that is said."""
    assert set(refused({**BODY, "each": True})) == {"each"}
    assert set(refused({**BODY, "each": True, "webhookUrl": "ftp://x"})) == {"webhookUrl"}
    assert read({**BODY, "webhookUrl": ""}).webhook_empty is True
    assert read({**BODY, "webhookUrl": "https://a.example"}).webhook_empty is False


@pytest.mark.parametrize("template", ['{"prompt": "{{a}}"}', ' {"prompt": "{{a}}"}', {"prompt": "{{a}}"}])
def test_the_template_of_a_form_may_be_a_body_as_text(template: Any) -> None:
    """A name stays a name; anything else is refused."""
    assert read({**BODY, "template": template}).template == {"prompt": "{{a}}"}
    assert read().template == "invoice"
    assert set(refused({**BODY, "template": 9})) == {"template"}


def test_the_hash_is_that_of_the_content() -> None:
    """Not of the id, of the order of fields or of empty ones, nor of the way in which the rows came."""
    same = [
        {"rows": [{"a": 1}], "template": "invoice"},
        {**BODY, "collectionId": "c-1"},
        {**BODY, "group": "", "metadata": None},
    ]
    others = [
        {**BODY, "template": "other"},
        {**BODY, "rows": [{"a": 2}]},
        {**BODY, "rows": [{"a": 1}, {"a": 1}]},
        {**BODY, "group": "g"},
    ]

    assert {read(body).body_hash for body in same} == {read().body_hash}
    assert len({read(body).body_hash for body in (BODY, *others)}) == 1 + len(others)
    assert read({"template": "invoice"}, table=Table(rows=[{"a": 1}], columns=("a",))).body_hash == read().body_hash
    swapped = [parse_more_rows({"rows": rows}).body_hash for rows in ([{"a": 1}, {"a": 2}], [{"a": 2}, {"a": 1}])]
    assert swapped[0] != swapped[1]


def test_more_rows_come_alone() -> None:
    """A field of the collection is not read there, and the caller is told."""
    more = parse_more_rows({"jobs": [{"prompt": "x"}], "groop": "g"})

    assert (more.kind, more.collection_id, len(more.warnings)) == (Kind.JOBS, None, 1)
    with pytest.raises(InvalidRequest, match="rows is required"):
        parse_more_rows({})


def test_a_body_that_is_no_object_or_no_json_is_refused() -> None:
    """Values that were parsed elsewhere are checked like those of a request."""
    assert set(refused([1])) == {"body"}
    assert set(refused({**BODY, "metadata": {"x": float("nan")}})) == {"metadata.x"}
    assert set(refused({**BODY, "callbackUrl": "https://a.example"})) == {"callbackUrl"}
