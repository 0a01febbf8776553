"""Unsupported options are dropped with a warning, or refused if the answer would be useless without them."""

import pytest

from claude_relay.core.models.catalog import from_memo
from tests.support.intake import NOW, PDF, PNG, accepted, an_intake_context, refused

YES, NO = {"supported": True}, {"supported": False}
PLAIN = {
    "id": "claude-haiku-4-5-20251001",
    "line": "haiku",
    "maxTokens": 64_000,
    "capabilities": {
        "effort": {**YES, "low": YES, "high": YES, "xhigh": NO, "max": None},
        "image_input": YES,
        "pdf_input": NO,
        "server_tools": {**NO, "web_search": NO, "code_execution": NO},
        "thinking": {**YES, "types": {"adaptive": YES, "enabled": NO}},
    },
}
ALWAYS_THINKS = {
    "id": "claude-opus-5-5",
    "line": "opus",
    "capabilities": {"thinking": {**YES, "types": {"adaptive": YES, "disabled": NO}}},
}
OPUS_5 = {"id": "claude-opus-5", "line": "opus", "capabilities": {"effort": {**YES, "max": YES, "high": YES}}}
BARE = {"id": "claude-sonnet-6", "line": "sonnet", "capabilities": {"effort": NO, "image_input": NO}}
LISTED = an_intake_context(
    model_catalog=lambda: from_memo({"fetchedAt": NOW, "models": [PLAIN, BARE, ALWAYS_THINKS, OPUS_5]})
)


def asked(model="claude-haiku-4-5", **options):
    submission = accepted({"options": {"model": model, **options}}, context=LISTED)
    return submission.request["options"], submission.warnings


@pytest.mark.parametrize(
    ("model", "given", "left", "says"),
    [
        ("claude-haiku-4-5", {"effort": "xhigh"}, {}, "effort xhigh was ignored"),
        ("claude-sonnet-6", {"effort": "low"}, {}, "effort low was ignored"),
        ("claude-haiku-4-5", {"maxTokens": 70_000}, {"maxTokens": 64_000}, "lowered to 64000"),
        ("claude-haiku-4-5", {"raw": {"thinking": {"type": "enabled"}}}, {}, "thinking of the type enabled"),
        ("claude-opus-5-5", {"thinking": "disabled"}, {}, "thinking of the type disabled"),
        ("claude-opus-5-5", {"raw": {"tool_choice": {"type": "any"}}}, {}, "cannot be forced to use a tool"),
        ("claude-opus-5", {"effort": "max", "thinking": "disabled"}, {"effort": "max"}, "thinks at this effort"),
        ("claude-haiku-4-5", {"raw": {"temperature": 1, "x": 1}}, {"raw": {"x": 1}}, "raw.temperature was ignored"),
        (
            "claude-haiku-4-5",
            {"raw": {"tools": [{"type": "web_search_20260209", "name": "web_search"}], "tool_choice": {}}},
            {},
            "web_search_20260209 was ignored",
        ),
    ],
)
def test_what_the_model_does_not_take_is_dropped_with_a_warning(model, given, left, says):
    options, [warning] = asked(model, **given)

    assert options == {"model": model, "maxTokens": 4096} | left
    assert says in warning


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("claude-haiku-4-5", {"effort": "high"}),
        ("claude-haiku-4-5", {"effort": "max"}),
        ("claude-haiku-4-5", {"raw": {"thinking": {"type": "adaptive"}}}),
        ("claude-haiku-4-5", {"raw": {"thinking": {"type": "of_tomorrow"}}}),
        ("claude-haiku-4-5", {"raw": {"tools": [{"name": "mine", "input_schema": {}}]}}),
        ("claude-haiku-4-5", {"maxTokens": 64_000}),
        ("claude-opus-5-5", {"raw": {"tool_choice": {"type": "auto"}}}),
        ("claude-opus-5", {"effort": "high", "raw": {"thinking": {"type": "disabled"}}}),
        ("claude-sonnet-6", {"maxTokens": 10**6}),
    ],
)
def test_what_it_takes_and_what_nobody_knows_is_sent(model, given):
    """The relay never lags the API: a capability that is not listed is not refused."""
    options, warnings = asked(model, **given)

    assert options == {"model": model, "maxTokens": 4096} | given
    assert warnings == ()


def test_an_unlisted_model_is_held_to_nothing():
    assert accepted({"options": {"model": "claude-opus-9", "effort": "max"}}).request["options"]["effort"] == "max"


@pytest.mark.parametrize(
    ("model", "data", "word"), [("claude-haiku-4-5", PDF, "PDFs"), ("claude-sonnet-6", PNG, "images")]
)
def test_a_file_that_the_model_cannot_read_is_refused_at_the_door(model, data, word):
    """An answer without the invoice would be useless."""
    problems = refused({"options": {"model": model}, "files": [{"data": data}]}, context=LISTED)

    assert word in problems["files[0]"] and "choose another options.model" in problems["files[0]"]


def test_a_file_that_it_can_read_is_taken():
    assert accepted({"options": {"model": "claude-haiku-4-5"}, "files": [{"data": PNG}]}, context=LISTED).warnings == ()


@pytest.mark.parametrize(("listed", "kept"), [(YES, True), (NO, False), ({}, True)])
def test_a_server_tool_is_sent_to_a_model_that_has_it_and_a_tool_of_the_caller_to_any(listed, kept):
    """Where the list says nothing, too; without a tool no choice of one is sent."""
    model = {"id": "claude-sonnet-6", "line": "sonnet", "capabilities": {"server_tools": {"web_search": listed}}}
    context = an_intake_context(model_catalog=lambda: from_memo({"fetchedAt": NOW, "models": [model]}))
    search, own = {"type": "web_search_20260209", "name": "web_search"}, {"name": "own", "input_schema": {}}
    for tools in ([search], [search, own], [own]):
        raw = {"tools": tools, "tool_choice": {"type": "auto"}}
        given = accepted({"options": {"model": "claude-sonnet-6", "raw": raw}}, context=context)
        expected = [tool for tool in tools if kept or tool is own]
        assert given.request["options"].get("raw") == ({**raw, "tools": expected} if expected else None)
        assert len(given.warnings) == len(tools) - len(expected)
