"""Keywords of JSON Schema: the type of each value, the draft, and the schemas inside."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.schemas.keywords import draft_number, subschemas, wrong_keyword


@pytest.mark.parametrize(
    ("url", "draft"),
    [(f"http://json-schema.org/draft-0{number}/schema{end}", number) for number in (3, 4, 6, 7) for end in ("", "#")]
    + [
        ("https://json-schema.org/draft/2019-09/schema", 2019),
        ("https://json-schema.org/draft/2020-12/schema", 2020),
        ("http://json-schema.org/draft-05/schema#", 2020),
        (None, 2020),
        ("", 2020),
    ],
)
def test_the_draft_of_a_schema_is_the_one_that_it_names(url: str | None, draft: int) -> None:
    """Without one, or with another, it is the latest."""
    assert draft_number(url) == draft


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        ("type", ["string", ["string", "null"]], ["text", [], ["string", "string"], ["text"], 1, None]),
        ("enum", [[], [1]], ["a", {}]),
        ("allOf", [[{}], [True]], [[], {}]),
        ("properties", [{}, {"a": {}}], [[], "a"]),
        ("items", [{}, True], [[], [{}]]),
        ("dependencies", [{"a": ["b"]}, {"a": {}}], [{"a": ["b", "b"]}, []]),
        ("required", [[], ["a", "b"]], [["a", "a"], ["a", 1], "a", True]),
        ("dependentRequired", [{}, {"a": ["b"]}], [{"a": "b"}, {"a": ["b", "b"]}, []]),
        ("minimum", [0, -1.5], ["0", True, None]),
        ("multipleOf", [0.1, 1], [0, -1, "1", True]),
        ("minLength", [0, 1, 2.0], [-1, 1.5, "1", True]),
        ("maxProperties", [0], [-1]),
        ("uniqueItems", [True, False], [1, "true"]),
        ("pattern", ["^a"], [1, None]),
        ("$ref", ["#"], [{}]),
        ("title", ["a"], [1]),
        ("exclusiveMinimum", [1], [True]),
    ],
)
def test_a_keyword_has_a_value_of_its_kind(key: str, right: list[Any], wrong: list[Any]) -> None:
    """The refusal names the keyword and the right kind; what is no keyword may be anything."""
    assert [value for value in right if wrong_keyword({"x": 1, key: value}, draft=2020)] == []
    for value in wrong:
        found = wrong_keyword({"x": 1, key: value}, draft=2020)
        assert found is not None and found[0] == key and found[1], value


def test_older_drafts_have_lists_of_items_and_flags_for_exclusive_limits() -> None:
    """The flags up to draft 4, the lists up to 2019."""
    flag, listed = {"exclusiveMaximum": True}, {"items": [{}]}

    assert [wrong_keyword(flag, draft=draft) is None for draft in (3, 4, 6, 2020)] == [True, True, False, False]
    assert [wrong_keyword(listed, draft=draft) is None for draft in (4, 7, 2019, 2020)] == [True, True, True, False]
    assert wrong_keyword({"items": []}, draft=7) is not None
    assert wrong_keyword({"items": [1]}, draft=7) is not None
    assert wrong_keyword({"exclusiveMaximum": "1"}, draft=4) is not None


def test_the_schemas_inside_one_have_their_paths() -> None:
    """Of one schema, of lists and of names; lists of names in `dependencies` are none."""
    schema = {
        "not": 1, "items": 2, "anyOf": [3, 4], "prefixItems": [5], "properties": {"a": 6}, "$defs": {"items": 7},
        "dependencies": {"a": ["b"], "c": 8}, "enum": [9], "title": "10", "const": {"not": 11},
    }  # fmt: skip

    assert dict(subschemas(schema)) == {
        ("not",): 1, ("items",): 2, ("anyOf", 0): 3, ("anyOf", 1): 4, ("prefixItems", 0): 5, ("properties", "a"): 6,
        ("$defs", "items"): 7, ("dependencies", "c"): 8,
    }  # fmt: skip
    assert dict(subschemas({"items": [1, 2]})) == {("items", 0): 1, ("items", 1): 2}
