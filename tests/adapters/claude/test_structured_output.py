"""Structured output: native or through the prompt, and always validated."""

import json
from dataclasses import replace

import pytest

from claude_relay.core.jobs.failure import ErrorType, Remedy, Repair
from tests.support.claude_caller import a_prompt
from tests.support.fake_claude import head, refusal, started, stopped, written

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def structured(text, **stop):
    return (head(), started(), *written(text), *stopped(**stop))


def a_structured_prompt(schema=SCHEMA):
    return a_prompt({"prompt": "Hei", "options": {"outputSchema": schema}})


def test_structured_output_is_parsed_and_validated(fake, caller):
    fake.then(*structured('```json\n{"n": 7}\n```'))

    done = caller(a_structured_prompt())

    assert (done.json, done.warnings) == ({"n": 7}, ())
    assert fake.books[0].body["output_config"]["format"]["schema"]["additionalProperties"] is False


@pytest.mark.parametrize("text", ['{"n": "seven"}', "Seven."])
def test_an_answer_that_does_not_match_is_a_failure(fake, caller, text):
    """It counts as an ordinary attempt and its cost is kept; it was complete, so it is not ambiguous."""
    fake.then(*structured(text))

    failure = caller(a_structured_prompt())

    assert (failure.type, failure.remedy, failure.ambiguous) == (ErrorType.SCHEMA, Remedy.RETRY, False)
    assert (failure.partial, failure.cost_usd) == (text, 0.00007)
    assert "even" not in failure.message


def test_a_truncated_structured_answer_is_completed_without_json(fake, caller):
    fake.then(*structured('{"n": ', stop_reason="max_tokens"))

    done = caller(a_structured_prompt())

    assert (done.json, done.truncated) == (None, True)
    assert "maxTokens" in done.warnings[0]


def test_a_refused_schema_is_put_into_the_prompt(fake, caller):
    """Structured output has undocumented limits; a refusal is free. The refused schema is remembered."""
    fake.then(*refusal("400 Bad Request", "invalid_request_error", text="Schema is too complex."))
    fake.then(*structured('{"n": 7}'))
    fake.then(*structured('{"n": 8}'))

    first, second = caller(a_structured_prompt()), caller(a_structured_prompt())

    assert (first.json, second.json) == ({"n": 7}, {"n": 8})
    assert "put into the prompt" in first.warnings[0]
    assert ["output_config" in seen.body for seen in fake.books] == [True, False, False]
    assert json.dumps(SCHEMA) in fake.books[1].body["system"]
    assert [(step.outcome, step.cost_usd) for step in caller.followups] == [("invalid_request", None)]


def test_a_repair_shows_claude_its_answer_and_the_problem(fake, caller):
    fake.then(*structured('{"n": 7}'))
    prompt = replace(
        a_structured_prompt(), repair=Repair(text='{"n": "seven"}', problem="n is no number", kinds=(ErrorType.SCHEMA,))
    )

    assert caller(prompt).json == {"n": 7}
    asked, answered, again = fake.books[0].body["messages"]
    assert (asked["content"], answered) == ("Hei", {"role": "assistant", "content": '{"n": "seven"}'})
    assert again["role"] == "user" and "n is no number" in again["content"]


def test_a_request_refused_with_and_without_its_schema_has_the_first_message(fake, caller):
    fake.then(*refusal("400 Bad Request", "invalid_request_error", text="prompt is too long"))
    fake.then(*refusal("400 Bad Request", "invalid_request_error", text="still too long"))

    failure = caller(a_structured_prompt())

    assert (failure.type, failure.remedy) == (ErrorType.INVALID_REQUEST, Remedy.FAIL)
    assert "prompt is too long" in failure.message


def test_an_invalid_schema_is_never_sent(fake, caller):
    failure = caller(a_structured_prompt({"type": "nonsense"}))

    assert (failure.type, failure.remedy, failure.sent) == (ErrorType.INVALID_REQUEST, Remedy.FAIL, False)
    assert not fake.books
