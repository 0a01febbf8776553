"""Which texts of a job a search looks at, and what counts as equal."""

from __future__ import annotations

import json

import pytest

from claude_relay.core.search import Needle

_REQUEST = {
    "prompt": 'Ærlig talt: "hundert" Euro\nStraße 1',
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Turn one"}, {"type": "image", "source": {"data": "QUJD"}}],
        },
        {"role": "assistant", "content": "Turn two"},
        {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "Sunny"}]}]},
    ],
    "options": {
        "systemPrompt": "Be brief",
        "maxTokens": 100,
        "raw": {"system": [{"type": "text", "text": "Raw rules"}]},
    },
    "files": [{"name": "invoice.pdf", "data": "QUJDRA=="}],
}
_OUTCOME = {"status": "completed", "response": "It costs kr 100", "model": "claude-sonnet-5-5"}


def found(text: str) -> bool:
    stored = json.dumps(_REQUEST, ensure_ascii=False, separators=(",", ":"))
    return Needle(text).matches("Order-7", stored, json.dumps(_OUTCOME).encode())


@pytest.mark.parametrize(
    "text",
    ["ærlig", "ÆRLIG TALT", "kr 100", "turn ONE", "two", "sunny", "be brief", "raw rules", "order-7", '"hundert"',
     "euro\nstr", "STRASSE", "straße", "e"],
)  # fmt: skip
def test_texts_of_people_and_answers_are_searched_in_any_case(text: str) -> None:
    """CASES F21: by Unicode folding, also across quotes and line breaks."""
    assert found(text)


@pytest.mark.parametrize(
    "text", ["maxTokens", "prompt", "response", "QUJD", "claude-sonnet", "completed", "user", "%", "a_r"]
)
def test_the_stored_json_is_not_searched(text: str) -> None:
    """CASES F21: neither its keys nor its settings, file data, or signs between values."""
    assert not found(text)


def test_damaged_or_erased_content_matches_nothing() -> None:
    for request, outcome in ((None, None), ("{}", b""), ('{"prompt": "needle', b'{"response": "needle')):
        assert not Needle("needle").matches("r", request, outcome)
