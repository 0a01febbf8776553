"""Options of the API: accepted under either spelling, and sent under the API's names."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.core.intake import parse_options
from claude_relay.core.intake.query import parse_retry_options
from tests.support.intake import NOW, accepted, an_intake_context, refused

SEARCH = {"type": "web_search_20260209", "name": "web_search"}


def sent(**options: Any) -> dict[str, Any]:
    """The part of it that is sent."""
    return accepted({"options": options}).request["options"].get("raw", {})


@pytest.mark.parametrize(
    ("given", "raw"),
    [
        ({"thinking": "adaptive"}, {"thinking": {"type": "adaptive"}}),
        ({"thinking": {"type": "enabled", "n": 2000}}, {"thinking": {"type": "enabled", "n": 2000}}),
        ({"tools": [SEARCH]}, {"tools": [SEARCH]}),
        ({"toolChoice": "any"}, {"tool_choice": {"type": "any"}}),
        ({"tool_choice": {"type": "tool", "name": "a"}}, {"tool_choice": {"type": "tool", "name": "a"}}),
        ({"stopSequences": ["END", "STOP"]}, {"stop_sequences": ["END", "STOP"]}),
        ({"stop_sequences": "END"}, {"stop_sequences": ["END"]}),
        ({"serviceTier": "standard_only"}, {"service_tier": "standard_only"}),
        ({"tools": [], "thinking": "", "toolChoice": None}, {}),
        ({"thinking": "adaptive", "raw": {"thinking": {"type": "disabled"}}}, {"thinking": {"type": "disabled"}}),
        ({"thinking": "adaptive", "raw": {"speed": "fast"}}, {"thinking": {"type": "adaptive"}, "speed": "fast"}),
    ],
)  # fmt: skip
def test_options_are_passed_under_the_apis_names(given: dict[str, Any], raw: dict[str, Any]) -> None:
    """The same field in raw takes precedence, since it is merged last."""
    assert sent(**given) == raw


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"thinking": 5}, "options.thinking", "an object"),
        ({"tools": "search"}, "options.tools", "a list"),
        ({"tools": ["search"]}, "options.tools[0]", "must be an object"),
        ({"stopSequences": [" "]}, "options.stopSequences[0]", "not only white space"),
        ({"stop_sequences": 5}, "options.stop_sequences", "a list"),
        ({"serviceTier": "gold"}, "options.serviceTier", "auto, standard_only"),
    ],
)
def test_an_invalid_option_is_refused_under_its_written_name(given: dict[str, Any], field: str, words: str) -> None:
    [(named, problem)] = refused({"options": given}).items()

    assert named == field and words in problem


@pytest.mark.parametrize("name", ["temperature", "topP", "top_p", "topK", "top_k"])
def test_removed_options_are_dropped_with_a_warning(name: str) -> None:
    """An old blueprint still gets its answer, wherever it has the option."""
    for given in ({name: 1}, {"raw": {name: 1}} if "_" in name else {name: 1}):
        submission = accepted({"options": given})
        [warning] = submission.warnings
        assert "no longer accepts it" in warning and name in warning
        assert name not in str(submission.request)


def test_passed_options_are_part_of_the_hash() -> None:
    bodies = [{"options": {"thinking": word}} for word in ("adaptive", "disabled", "adaptive")]
    one, other, again = (accepted(body).body_hash for body in bodies)

    assert one == again != other


def test_a_retry_may_have_them_too() -> None:
    read, _ = parse_options({"tools": [SEARCH]}, now=NOW, context=an_intake_context())

    assert read["raw"] == {"tools": [SEARCH]}


def test_a_retry_replaces_raw_completely_and_uses_its_model() -> None:
    given = {"raw": {"model": "smart", "temperature": 1}}

    assert parse_retry_options(given, an_intake_context(), now=NOW) == {"model": "claude-opus-5-5", "raw": {}}


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        (None, None),
        ({}, None),
        ({"maxTokens": "5"}, {"maxTokens": 5}),
        ({"maxTokens": 5, "stopSequences": ""}, {"maxTokens": 5}),
        ({"stopSequences": ["x"]}, {"raw": {"stop_sequences": ["x"]}}),
        ({"stop_sequences": "x", "raw": {"stream_x": 1}}, {"raw": {"stop_sequences": ["x"], "stream_x": 1}}),
        ({"raw": {}}, {"raw": {}}),
        ({"raw": None}, {"raw": {}}),
        ({"raw": {"temperature": 1}}, {"raw": {}}),
        ({"model": "smart"}, {"model": "claude-opus-5-5"}),
        ({"topK": 5}, {}),
    ],
)
def test_a_retry_changes_the_options_that_it_names_and_no_others(given: object, chosen: object) -> None:
    """An empty one is none, but for `raw`, which is replaced as a whole."""
    assert parse_retry_options(given, an_intake_context(), now=NOW) == chosen
