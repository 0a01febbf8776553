"""Bodies that name a template: the check of a template, the merge with it, and its headers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core.intake.templated import check_template, merge, names_template, parse_templated
from claude_relay.core.jobs.submission import Submission
from claude_relay.core.templates import MAX_BYTES, Compiled, Template, read_variables
from claude_relay.errors import InvalidRequest
from tests.support.intake import NOW, an_intake_context

CONTEXT = an_intake_context()
HEADERS = {"x-key": "k"}
SHARED = Template(
    owner="admin", name="t", version=3, shared=True,
    body={"prompt": "Read {{a}}", "webhookUrl": "https://a.example/in", "webhookHeaders": HEADERS},
)  # fmt: skip


def checked(body: Any, **how: Any) -> Compiled:
    return check_template(body, now=NOW, context=CONTEXT, **how)


def problems(body: Any, **how: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        checked(body, **how)
    return {problem.field: problem.problem for problem in caught.value.problems}


def submitted(body: dict[str, Any], template: Template = SHARED, owner: str = "ada") -> Submission:
    compiled = Compiled(template.body)
    return parse_templated(template, compiled, body, now=NOW, context=CONTEXT, owner=owner)


def refused(body: dict[str, Any], template: Template = SHARED) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        submitted(body, template)
    return [problem.field for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"template": "t"}, True),
        ({"variables": {"a": 1}}, True),
        ({"template": " ", "variables": {}}, False),
        ({"prompt": "x"}, False),
        (["template"], False),
    ],
)
def test_a_body_names_a_template_or_has_variables_for_one(body: Any, named: bool) -> None:
    """Empty fields are none."""
    assert names_template(body) is named


def test_a_template_has_at_most_a_mebibyte_as_json() -> None:
    """In UTF-8, with no spaces between its parts."""
    rest = len(json.dumps({"prompt": "{{a}}", "group": "g"}, separators=(",", ":")))
    body = {"prompt": "{{a}}" + "ø" * ((MAX_BYTES - rest) // 2), "group": "g" + "g" * ((MAX_BYTES - rest) % 2)}

    assert checked(body).placeholders == ("a",)
    assert "1,048,577 bytes" in problems({**body, "prompt": body["prompt"] + "x"})["body"]


def test_a_problem_of_a_template_is_at_its_place_below_the_field_that_holds_it() -> None:
    """A value that depends on a placeholder is checked once it is filled; all others now."""
    wrong = {"prompt": "{{a}}", "group": "?", "options": {"maxTokens": "{{n}}", "effort": "much"}, "template": "x"}

    assert set(problems({**wrong, "template": "x"})) == {"body.template"}
    del wrong["template"]
    assert set(problems(wrong)) == {"body.group", "body.options.effort"}
    assert set(problems(wrong, at="template")) == {"template.group", "template.options.effort"}
    assert set(problems({"prompt": "{{"}, at="template")) == {"template.prompt"}
    assert set(problems({"group": "g"})) == {"body.prompt"}
    for nothing in ({}, [], "text", None):
        assert set(problems(nothing)) == {"body"} and set(problems(nothing, at="template")) == {"template"}
    assert set(problems({"metadata": {"x": float("nan")}})) == {"body.metadata.x"}
    # What is above or below a placeholder depends on it, and a name that only begins like one does not.
    assert checked({"prompt": "x", "files": [{"url": "{{u}}"}], "metadata": "{{m}}"}).paths == [
        "files[0].url",
        "metadata",
    ]
    assert set(problems({"prompt": "{{p}}", "priority": -1, "options": {"raw": {"x": "{{y}}"}, "maxTokens": 0}})) == {
        "body.priority", "body.options.maxTokens",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("own", "body"),
    [
        ({}, {"prompt": "x", "options": {"model": "a", "effort": "low"}, "delay": "1m"}),
        ({"options": {"effort": "max"}}, {"prompt": "x", "options": {"model": "a", "effort": "max"}, "delay": "1m"}),
        ({"options": {"effort": ""}}, {"prompt": "x", "options": {"model": "a", "effort": "low"}, "delay": "1m"}),
        ({"model": "b"}, {"prompt": "x", "options": {"effort": "low"}, "model": "b", "delay": "1m"}),
        ({"options": "all"}, {"prompt": "x", "options": "all", "delay": "1m"}),
        ({"messages": [1]}, {"options": {"model": "a", "effort": "low"}, "messages": [1], "delay": "1m"}),
        ({"runAt": "now"}, {"prompt": "x", "options": {"model": "a", "effort": "low"}, "runAt": "now"}),
        (
            {"prompt": "", "group": "g"},
            {"prompt": "x", "options": {"model": "a", "effort": "low"}, "delay": "1m", "group": "g"},
        ),
    ],
)
def test_the_fields_of_the_caller_come_over_those_of_the_template(own: dict[str, Any], body: dict[str, Any]) -> None:
    """Options one by one, also one beside them; a field that excludes another replaces it; empty ones are none."""
    template = Compiled({"prompt": "{{a}}", "options": {"model": "a", "effort": "{{e}}"}, "delay": "1m"})
    variables, _ = read_variables({"a": "x", "e": "low"}, at="variables")

    assert merge(template, {"template": "t", "variables": {"a": 1}, **own}, variables, limit=99).body == body


def test_missing_variables_are_named_and_what_they_would_have_filled_is_no_second_problem() -> None:
    """Other problems are; a hundred are the most."""
    template = replace(SHARED, body={"prompt": "{{a}}", "group": "{{b}}", "webhookUrl": "{{c}}"})
    assert refused({"variables": {"a": "x"}, "priority": -1}, template) == ["variables.b", "variables.c", "priority"]
    assert refused({"variables": {"b": 1, "c": 2}}, template)[0] == "variables.a"
    assert refused({"variables": {"a": "x", "b": "?", "c": "no"}}, template) == ["webhookUrl", "group"]
    many = replace(SHARED, body={"prompt": "".join(f"{{{{v{number}}}}}" for number in range(101))})
    assert len(refused({"variables": {"x": 1}}, many)) == 100
    assert refused({"variables": [1]}) == ["variables"]
    assert refused({"variables": {"a": 1}}, replace(SHARED, body={"prompt": "x"})) == ["template"]
    assert refused({"variables": {"a": "x", " a": "y"}}) == ["variables. a"]
    assert refused({"variables": {"a": float("inf")}}) == ["variables.a"]


def test_a_submission_names_the_version_and_the_variables_that_it_did_not_use() -> None:
    made = submitted({"variables": {"a": "x", "b": "y"}}, owner="admin")

    assert (made.request["prompt"], made.template) == ("Read x", "t@3")
    assert made.warnings == ("the template has no placeholder for: b",)
    many = submitted({"variables": {"a": "x", "b": 1}, **{f"field {number}": 1 for number in range(30)}}, owner="admin")
    assert len(many.warnings) == 20 and many.warnings[-1].endswith("for: b")


@pytest.mark.parametrize(
    ("own", "owner", "sent"),
    [
        ({}, "ada", HEADERS),
        ({"webhookUrl": "https://a.example/other?x"}, "ada", HEADERS),
        ({"webhookUrl": "https://A.example:443/in"}, "ada", HEADERS),
        ({"webhookUrl": "https://b.example/in"}, "ada", {}),
        ({"webhookUrl": "http://a.example/in"}, "ada", {}),
        ({"webhookUrl": "https://a.example:8443/in"}, "ada", {}),
        ({"failureWebhookUrl": "https://b.example/in"}, "ada", {}),
        ({"webhookUrl": "https://b.example/in"}, "admin", HEADERS),
        ({"webhookUrl": "https://b.example/in", "webhookHeaders": {"x-key": "own"}}, "ada", {"x-key": "own"}),
    ],
)
def test_the_headers_of_a_shared_template_go_to_its_own_places_only(
    own: dict[str, Any], owner: str, sent: dict[str, str]
) -> None:
    """They are often a key, which a caller must not read; those of the caller go where it says."""
    made = submitted({"variables": {"a": "x"}, **own}, owner=owner)

    assert made.webhook_headers == sent
    assert any("webhookHeaders" in text for text in made.warnings) is (sent == {})


def test_a_place_that_a_variable_names_is_none_of_the_templates_own() -> None:
    """A host with a placeholder is the caller's; a path with one is not."""
    body = {"prompt": "x", "webhookHeaders": HEADERS}
    for url, sent in (("https://{{h}}/in", {}), ("https://a.example/{{h}}", HEADERS)):
        made = submitted({"variables": {"h": "a.example"}}, replace(SHARED, body={**body, "webhookUrl": url}))
        assert made.webhook_headers == sent, url
