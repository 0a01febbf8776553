"""Automatic prompt caching: repeated prefixes get a breakpoint, others do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_relay.claude.caching import LIFETIME, MIN_LENGTH, Caching
from tests.support.builders import Clock

MARK = {"type": "ephemeral"}
LONG = "Be brief. " * (MIN_LENGTH // 10 + 1)
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0" * MIN_LENGTH},
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def caching(clock: Clock) -> Caching:
    return Caching(clock=clock)


def ask(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": list(content) or "Hei"}], **fields}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def send(caching: Caching, body: dict[str, Any], *, answered: bool = True) -> dict[str, Any]:
    """The body as it goes out; and Claude begins to answer."""
    original = json.dumps(body)
    marked, begun = caching.mark(body)
    if answered:
        begun()
    assert json.dumps(body) == original  # nothing of the caller's is changed
    return marked


def marks(body: dict[str, Any]) -> int:
    return json.dumps(body).count('"cache_control"')


def test_a_system_prompt_is_marked_from_its_second_use_on(caching: Caching) -> None:
    first, second, third = (send(caching, ask(system=LONG, max_tokens=number)) for number in (1, 2, 3))

    assert first["system"] == LONG
    assert second["system"] == third["system"] == [{"type": "text", "text": LONG, "cache_control": MARK}]
    assert marks(second) == 1


@pytest.mark.parametrize(
    "other",
    [ask(system=LONG[1:]), ask(system="Short."), ask(system=LONG) | {"model": "n"}, ask(system=LONG, tools=[{"a": 1}])],
)
def test_a_different_prefix_is_not_marked(caching: Caching, other: dict[str, Any]) -> None:
    send(caching, ask(system=LONG))

    assert marks(send(caching, other)) == 0


def test_a_short_prefix_is_never_marked(caching: Caching) -> None:
    assert [marks(send(caching, ask(text("Hei"), system="Short."))) for _ in range(3)] == [0, 0, 0]


def test_prefixes_expire_with_the_cache(caching: Caching, clock: Clock) -> None:
    send(caching, ask(system=LONG))
    clock.advance(LIFETIME)

    assert marks(send(caching, ask(system=LONG))) == 0


def test_a_prefix_counts_only_once_answered(caching: Caching) -> None:
    """A throttled call writes nothing to the cache, and its retry is not a repeat."""
    send(caching, ask(system=LONG), answered=False)

    assert marks(send(caching, ask(system=LONG))) == 0


def test_only_one_of_several_concurrent_calls_writes(caching: Caching) -> None:
    """The others could not read it yet, and would all pay for a write."""
    send(caching, ask(system=LONG))
    waves = [caching.mark(ask(system=LONG)) for _ in range(5)]
    for _, begun in waves:
        begun()

    assert [marks(body) for body, _ in waves] == [1, 0, 0, 0, 0]
    assert [marks(send(caching, ask(system=LONG))) for _ in range(3)] == [1, 1, 1]


def test_a_repeated_file_with_another_question_is_marked_after_the_file(caching: Caching) -> None:
    send(caching, ask(PDF, text("Who?")))
    second = send(caching, ask(PDF, text("When?")))

    assert second["messages"][0]["content"] == [PDF | {"cache_control": MARK}, text("When?")]


def test_a_different_file_of_the_same_length_is_not_marked(caching: Caching) -> None:
    other = {**PDF, "source": {**PDF["source"], "data": PDF["source"]["data"].replace("J", "K")}}
    send(caching, ask(PDF, text("Who?")))

    assert marks(send(caching, ask(other, text("Who?")))) == 0


def test_tools_without_a_system_prompt_are_marked_at_their_end(caching: Caching) -> None:
    tools = [{"name": "a"}, {"name": "b", "description": LONG}]
    send(caching, ask(tools=tools))

    assert send(caching, ask(tools=tools))["tools"] == [tools[0], tools[1] | {"cache_control": MARK}]


def test_a_continued_conversation_is_marked_at_its_end(caching: Caching) -> None:
    """So that the next turn reads all of it; a first turn is not marked, because most are the last."""
    first = ask(text(LONG))
    assert marks(send(caching, first)) == 0
    turns = [*first["messages"], {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}]
    second = send(caching, first | {"messages": turns})

    assert second["messages"][-1]["content"] == [text("C") | {"cache_control": MARK}]
    assert marks(second) == 1


def test_a_request_with_its_own_breakpoints_is_not_changed(caching: Caching) -> None:
    own = ask(text("Hei"), system=[text(LONG) | {"cache_control": {"type": "ephemeral", "ttl": "1h"}}])

    for _ in range(3):
        assert send(caching, own) == own
        assert "cache_control" not in send(caching, ask(system=LONG, cache_control=MARK))["messages"][0]


def test_a_breakpoint_inside_a_tool_result_counts(caching: Caching) -> None:
    marked = text("found") | {"cache_control": MARK}
    own = ask({"type": "tool_result", "tool_use_id": "t", "content": [marked] * 4}, system=LONG)

    for _ in range(3):
        assert send(caching, own) == own


@pytest.mark.parametrize("odd", [{"system": 7}, {"tools": "x"}, {"system": [7]}])
def test_a_malformed_request_is_not_changed(caching: Caching, odd: dict[str, Any]) -> None:
    for _ in range(2):
        assert send(caching, ask(**odd)) == ask(**odd)
