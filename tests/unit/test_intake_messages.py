"""The messages of a conversation: refused only if the API would certainly refuse them."""

import pytest

from tests.support.intake import accepted, refused

USER = {"role": "user", "content": "Hei"}
CLAUDE = {"role": "assistant", "content": "Hei du"}


@pytest.mark.parametrize(
    ("messages", "letters"),
    [
        ([USER], 3),
        ([USER, CLAUDE, USER], 12),
        ([{"role": "system", "content": "Kort"}, USER], 7),
        ([{"role": "user", "content": [{"type": "text", "text": "Hei"}, {"type": "image", "source": {}}]}], 3),
        ([{**USER, "cache_control": {"type": "ephemeral"}}], 3),
        ([{"role": "user", "content": [{"type": "new", "text": "Hei"}, {"type": "new", "text": 7}]}], 3),
        ([{"role": "user", "content": [{"type": "text", "text": "Hei"}] * 2}, USER], 9),
    ],
)
def test_messages_are_kept_unchanged(messages, letters):
    submission = accepted({"messages": messages})

    assert submission.request["messages"] == messages and "prompt" not in submission.request
    assert submission.prompt_length == letters


@pytest.mark.parametrize(
    ("messages", "field", "words"),
    [
        ("Hei", "messages", "must be a list"),
        ({"role": "user"}, "messages", "must be a list"),
        (["Hei"], "messages[0]", "must be an object"),
        ([{"content": "Hei"}], "messages[0].role", "user, assistant, system"),
        ([{"role": "User", "content": "Hei"}], "messages[0].role", "not “User”"),
        ([{"role": ["user"], "content": "Hei"}], "messages[0].role", "must be one of"),
        ([USER, {"role": "user"}], "messages[1].content", "is required"),
        ([{"role": "user", "content": " \n"}], "messages[0].content", "is empty"),
        ([{"role": "user", "content": []}], "messages[0].content", "is empty"),
        ([{"role": "user", "content": 5}], "messages[0].content", "a number"),
        ([{"role": "user", "content": ["Hei"]}], "messages[0].content[0]", "a block with a type"),
        ([{"role": "user", "content": [{"text": "Hei"}]}], "messages[0].content[0]", "a block with a type"),
        ([USER, CLAUDE], "messages[1].role", "must not be assistant in the last message"),
    ],
)
def test_an_invalid_message_is_refused_by_path(messages, field, words):
    [(named, problem)] = refused({"messages": messages}).items()

    assert named == field and words in problem


def test_prompt_and_messages_cannot_be_combined():
    assert "cannot be combined with prompt" in refused({"prompt": "Hei", "messages": [USER]})["messages"]


def test_an_empty_prompt_beside_messages_is_ignored():
    assert accepted({"prompt": "", "messages": [USER]}).request["messages"] == [USER]
    assert accepted({"prompt": "Hei", "messages": []}).request["prompt"] == "Hei"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  ", "only white space"),
        ("", "is empty"),
        ("\u00a0\n", "only white space"),
        (None, "is required"),
        (7, "string"),
    ],
)
def test_a_text_block_without_text_is_refused_as_a_blank_prompt_is(text, words):
    """CASES F26: it was accepted, and failed upstream."""
    content = [{"type": "text", "text": "Hei"}, {"type": "text", "text": text}]
    problems = refused({"messages": [{"role": "user", "content": content}]})

    assert list(problems) == ["messages[0].content[1].text"]
    assert words in problems["messages[0].content[1].text"]
