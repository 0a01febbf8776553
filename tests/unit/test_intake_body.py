"""The submit body: types and limits of every field, lenient values, and all problems at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.intake import parse, parse_options
from claude_relay.core.intake.body import FIELDS
from claude_relay.core.intake.options import OPTIONS
from claude_relay.core.jobs.job import OnInterrupt, Retain
from claude_relay.errors import InvalidRequest
from tests.support.intake import NOW, PDF, accepted, an_intake_context, refused


def test_a_prompt_alone_is_enough():
    """Everything else has a default."""
    submission = accepted({"prompt": "Hei på deg"})

    assert submission.request == {
        "prompt": "Hei på deg",
        "options": {"model": "claude-sonnet-5-5", "maxTokens": 4096},
    }
    assert (submission.request_id, submission.webhook_url, submission.run_at, submission.deadline_at) == (None,) * 4
    assert (submission.mode, submission.group, submission.priority) == ("live", "default", 0.0)
    assert (submission.on_interrupt, submission.retain) == (OnInterrupt.RETRY, Retain.FULL)
    assert (submission.prompt_length, submission.warnings) == (10, ())


def test_every_field_is_read():
    """No value of the request is lost."""
    submission = accepted(
        {
            "prompt": "Les fakturaen",
            "webhookUrl": "https://hook.eu1.make.com/abc?x=1",
            "failureWebhookUrl": "http://hooks.example:8080/fail",
            "webhookHeaders": {"x-make-apikey": "k"},
            "requestId": "faktura:2026-11.22_a",
            "options": {
                "model": "smart",
                "maxTokens": 100,
                "systemPrompt": "Svar kort",
                "outputSchema": {"type": "object"},
                "effort": "xhigh",
                "raw": {"thinking": {"type": "adaptive"}},
            },
            "files": [{"data": PDF, "name": "faktura.pdf"}],
            "continueFrom": "earlier-1",
            "mode": "auto",
            "needBy": "2h",
            "delay": "10m",
            "deadline": "30m",
            "priority": 86_400,
            "group": "regnskap",
            "metadata": {"bilag": 7, "tom": ""},
            "maxCostUsd": 0.5,
            "onInterrupt": "hold",
            "retain": "metadata",
        },
        context=an_intake_context(),
    )

    assert submission.request == {
        "prompt": "Les fakturaen",
        "options": {
            "model": "claude-opus-5-5",
            "maxTokens": 100,
            "systemPrompt": "Svar kort",
            "outputSchema": {"type": "object"},
            "effort": "xhigh",
            "raw": {"thinking": {"type": "adaptive"}},
        },
        "files": [{"data": PDF, "mediaType": "application/pdf", "name": "faktura.pdf"}],
        "continueFrom": "earlier-1",
    }
    assert submission.request_id == "faktura:2026-11.22_a"
    assert submission.webhook_url == "https://hook.eu1.make.com/abc?x=1"
    assert submission.failure_webhook_url == "http://hooks.example:8080/fail"
    assert submission.webhook_headers == {"x-make-apikey": "k"}
    assert submission.metadata == {"bilag": 7, "tom": ""}
    assert (submission.mode, submission.group, submission.priority) == ("auto", "regnskap", 86_400.0)
    assert (submission.run_at, submission.deadline_at, submission.need_by) == (NOW + 600, NOW + 1800, NOW + 7200)
    assert (submission.max_cost_usd, submission.model) == (0.5, "claude-opus-5-5")
    assert (submission.on_interrupt, submission.retain) == (OnInterrupt.HOLD, Retain.METADATA)
    assert submission.warnings == ()


@pytest.mark.parametrize("body", [None, [], [{"prompt": "x"}], "prompt", 3, True])
def test_a_body_must_be_an_object(body):
    assert "must be an object" in refused(body)["body"]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [(None, "is required"), ("", "is required"), (" \n\t", "only white space"), (42, "a number"), (["x"], "a list")],
)
def test_a_prompt_is_a_string_that_is_not_blank(prompt, words):
    assert words in refused({"prompt": prompt})["prompt"]


@pytest.mark.parametrize("empty", ["", " ", None, [], {}])
@pytest.mark.parametrize("name", [name for name in FIELDS if name != "prompt"])
def test_an_empty_field_counts_as_absent(name, empty):
    """Make sends blank fields as "" or null."""
    assert accepted({"prompt": "Hei", name: empty}) == accepted({"prompt": "Hei"})


@pytest.mark.parametrize("empty", ["", None, [], {}])
@pytest.mark.parametrize("name", OPTIONS)
def test_an_empty_option_counts_as_absent(name, empty):
    assert accepted({"options": {name: empty}}) == accepted({})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"webhookUrl": 5}, "webhookUrl"),
        ({"failureWebhookUrl": ["https://a.example"]}, "failureWebhookUrl"),
        ({"webhookHeaders": "x: y"}, "webhookHeaders"),
        ({"requestId": 5}, "requestId"),
        ({"requestId": "a" * 129}, "requestId"),
        ({"requestId": "-a"}, "requestId"),
        ({"requestId": "a/../b"}, "requestId"),
        ({"requestId": "a\n"}, "requestId"),
        ({"requestId": "å"}, "requestId"),
        ({"options": "model"}, "options"),
        ({"options": ["model"]}, "options"),
        ({"files": {"data": PDF}}, "files"),
        ({"continueFrom": "/"}, "continueFrom"),
        ({"mode": "Live"}, "mode"),
        ({"mode": 1}, "mode"),
        ({"needBy": 7200}, "needBy"),
        ({"runAt": 1_795_305_600}, "runAt"),
        ({"delay": 600}, "delay"),
        ({"deadline": True}, "deadline"),
        ({"priority": -1}, "priority"),
        ({"priority": 86_401}, "priority"),
        ({"priority": "soon"}, "priority"),
        ({"priority": True}, "priority"),
        ({"group": "a" * 65}, "group"),
        ({"group": "a b"}, "group"),
        ({"group": 1}, "group"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": [1]}, "metadata"),
        ({"maxCostUsd": 0}, "maxCostUsd"),
        ({"maxCostUsd": -1}, "maxCostUsd"),
        ({"maxCostUsd": "cheap"}, "maxCostUsd"),
        ({"onInterrupt": "restart"}, "onInterrupt"),
        ({"retain": False}, "retain"),
    ],
)
def test_a_field_of_a_wrong_type_or_beyond_its_limit_is_refused(body, field):
    assert list(refused(body, context=an_intake_context())) == [field]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mode", "live, batch, auto"),
        ("onInterrupt", "retry, partial, hold"),
        ("retain", "full, metadata"),
    ],
)
def test_an_invalid_word_is_refused_with_the_valid_ones(name, words):
    problem = refused({name: "whatever"})[name]

    assert words in problem and "whatever" in problem


def test_limits_are_inclusive():
    """The limits in the contract's table are accepted."""
    submission = accepted(
        {"requestId": "a" * 128, "group": "g" * 64, "priority": 0, "metadata": {"k": "x" * (16 * 1024 - 8)}}
    )

    assert len(submission.request_id or "") == 128
    assert "metadata" in refused({"metadata": {"k": "x" * (16 * 1024 - 7)}})
    assert "metadata" in refused({"metadata": {"k": "å" * (8 * 1024)}})


def test_all_problems_are_reported_at_once():
    """One round trip is enough to fix a body."""
    body = {
        "prompt": 3,
        "webhookUrl": "ftp://x",
        "requestId": "/",
        "options": {"maxTokens": 0, "effort": "extreme", "max_tokens": 3},
        "files": [{"data": "%%"}],
        "group": "a b",
        "delay": "10",
        "webhook_headers": {},
    }

    assert set(refused(body)) == {
        "prompt",
        "webhookUrl",
        "requestId",
        "options.maxTokens",
        "options.effort",
        "options.max_tokens",
        "files[0].data",
        "group",
        "delay",
        "webhook_headers",
    }


def test_a_body_with_a_million_faults_gets_a_short_reply():
    """The list of problems is for people."""
    turns = [{"role": "nobody", "content": ""}] * 10_000

    assert len(refused({"messages": turns})) <= 100
    assert len(accepted({f"field {index}": 1 for index in range(10_000)}).warnings) <= 20


def test_of_many_unknown_fields_the_first_are_named_and_the_others_counted():
    """Twenty warnings are the most, whatever there is to warn about."""
    some = accepted({f"field {index}": 1 for index in range(20)}).warnings
    more = accepted({"options": {"topK": 1}} | {f"field {index}": 1 for index in range(18)}).warnings
    many = accepted({f"field {index}": 1 for index in range(1_021)}).warnings

    assert len(some) == len(many) == 20 and "field 19 is not" in some[-1] and len(more) == 19
    assert "field 18 is not" in many[18] and many[19] == "1,002 more unknown fields were ignored"
    full = accepted({"options": {f"option {index}": 1 for index in range(20)}, "field": 1}).warnings
    assert len(full) == 20 and not any(text.startswith("field") for text in full)


@pytest.mark.parametrize(("text", "number"), [("4096", 4096), (" 100 ", 100), ("1e3", 1000), ("4096.0", 4096)])
def test_a_number_in_quotes_is_accepted_with_a_warning(text, number):
    submission = accepted({"options": {"maxTokens": text}})

    assert submission.request["options"]["maxTokens"] == number
    assert ["options.maxTokens" in warning for warning in submission.warnings] == [True]


def test_a_forms_numbers_are_accepted_without_a_warning():
    """A form has no other way to write them."""
    submission = accepted({"priority": "60", "options": {"maxTokens": "100"}}, form=True)

    assert (submission.priority, submission.warnings) == (60.0, ())


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({"priority": 86_401}, "priority", "must be a number from 0 to 86400, not 86401"),
        ({"priority": "many"}, "priority", "must be a number from 0 to 86400, not a string"),
        ({"priority": 10**12 + 1}, "priority", "must be a number from 0 to 86400: this number is too large"),
        ({"maxCostUsd": -0.5}, "maxCostUsd", "must be a number of at least 0, not -0.5"),
        ({"maxCostUsd": 1e13}, "maxCostUsd", "must be a number of at least 0: this number is too large"),
        ({"options": {"maxTokens": 1.5}}, "options.maxTokens", "must be a whole number of at least 1, not 1.5"),
        ({"options": {"maxTokens": True}}, "options.maxTokens", "must be a whole number of at least 1, not true"),
        ({"options": {"temperature": 2}}, "options.temperature", "must be a number from 0 to 1, not 2"),
        ({"metadata": "x"}, "metadata", "must be an object ({…}), not a string"),
        ({"files": False}, "files", "must be a list ([…]), not false"),
        ({"group": {"a": 1}}, "group", "must be a string in quotes, not an object"),
        ({"group": [1]}, "group", "must be a string in quotes, not a list"),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_must_be_and_what_it_is(body, field, problem):
    """Its type in words, and a number as it was sent; a string is never shown."""
    assert refused(body) == {field: problem}


@pytest.mark.parametrize("number", [10**12, "1" + 12 * "0", "1e12", "1000000000000.0", "+1000000000000"])
def test_the_largest_number_of_a_field_is_a_trillion(number):
    """In any notation, which are the same request."""
    made = accepted({"maxCostUsd": number})

    assert made.max_cost_usd == 10**12
    assert made.body_hash == accepted({"maxCostUsd": 10**12}).body_hash


@pytest.mark.parametrize("value", ["0,5", "4 096", "٤٠٩٦", "1_000", "0x10", "inf", "nan", "1e999", "9" * 5000])
def test_an_invalid_number_in_quotes_is_refused(value):
    assert "must be a number from 0 to 86400" in refused({"priority": value})["priority"]


def test_an_unknown_field_is_ignored_with_a_warning():
    submission = accepted({"colour": "red", "options": {"top_p": 1}})

    assert [warning.split()[0] for warning in submission.warnings] == ["options.top_p", "colour"]


def test_an_option_beside_the_options_is_taken_with_a_warning():
    """CASES N15: a no-coder sees no warning in a 202, and the job is paid; an option that is given, too, wins."""
    submission = accepted(
        {"model": "claude-haiku-4-5", "max_tokens": "50", "temperature": 0.3, "effort": "", "options": {"maxTokens": 7}}
    )

    assert (submission.model, submission.chosen_model) == ("claude-haiku-4-5", True)
    assert submission.request["options"]["maxTokens"] == 7
    assert "model was read as options.model: write it into options" in submission.warnings
    assert "max_tokens was ignored: options.maxTokens is given, too" in submission.warnings
    assert "temperature was read as options.temperature: write it into options" in submission.warnings
    same = {"options": {"model": "claude-haiku-4-5", "maxTokens": 7, "temperature": 0.3}}
    assert submission.body_hash == accepted(same).body_hash
    assert "must be a whole number" in refused({"maxTokens": "many"})["options.maxTokens"]


def test_a_field_of_the_body_inside_the_options_is_ignored_with_a_warning():
    submission = accepted({"options": {"webhookUrl": "https://a.example"}})

    assert "options.webhookUrl was ignored: it is only read as webhookUrl" in submission.warnings[0]
    slip = accepted({"options": {"webhokUrls": "https://a.example"}})
    assert slip.warnings == ("options.webhokUrls is not a known field and was ignored",)


@pytest.mark.parametrize(
    ("body", "name", "right"),
    [
        ({"system": "Be brief."}, "system", "options.systemPrompt"),
        ({"options": {"system": "Be brief."}}, "options.system", "options.systemPrompt"),
        ({"callbackUrl": "https://a.example"}, "callbackUrl", "webhookUrl"),
        ({"callback_url": "https://a.example"}, "callback_url", "webhookUrl"),
        ({"webhook": "https://a.example"}, "webhook", "webhookUrl"),
        ({"response_format": {"type": "json_object"}}, "response_format", "options.outputSchema"),
    ],
)
def test_the_name_of_another_api_is_refused_with_the_right_one(body, name, right):
    """CASES N15: without its callback or its system prompt the job would be paid for nothing."""
    assert refused(body) == {name: f"is not a field; did you mean {right}?"}


def test_a_blank_field_of_another_api_is_an_unknown_one():
    assert accepted({"system": "", "callbackUrl": None}).warnings == (
        "system is not a known field and was ignored",
        "callbackUrl is not a known field and was ignored",
    )


@pytest.mark.parametrize(
    ("body", "slip", "meant"),
    [
        ({"webhookURL": "x"}, "webhookURL", "webhookUrl"),
        ({"webhook_url": "x"}, "webhook_url", "webhookUrl"),
        ({"Prompt": "x", "prompt": "y"}, "Prompt", "prompt"),
        ({"request-id": "x"}, "request-id", "requestId"),
        ({"options": {"max_tokens": 1}}, "options.max_tokens", "options.maxTokens"),
        ({"options": {"systemPromt": "x"}}, "options.systemPromt", "options.systemPrompt"),
        ({"files": [{"data": PDF, "media_type": "x"}]}, "files[0].media_type", "files[0].mediaType"),
    ],
)
def test_a_misspelt_field_is_refused_with_both_names(body, slip, meant):
    """A webhookURL that was silently ignored would be an answer that never arrives."""
    assert f"did you mean {meant}?" in refused(body)[slip]


@pytest.mark.parametrize("place", ["prompt", "metadata", "requestId", "group"])
def test_half_a_character_is_refused_everywhere(place):
    body = {"prompt": "x", place: {"k": ["a\ud83d"]} if place == "metadata" else "a\ud83d"}
    [(field, problem)] = refused(body).items()

    assert field.startswith(place) and "half a character" in problem


def test_unusual_but_valid_characters_are_accepted_in_a_prompt():
    """Control characters are refused only where they would break something."""
    assert accepted({"prompt": "a\x00b\x1b[0m\u2028\ufffe"}).request["prompt"] == "a\x00b\x1b[0m\u2028\ufffe"


def test_options_alone_follow_the_same_rules():
    """For a retry."""
    read, warnings = parse_options({"model": "claude-2.1", "maxTokens": "5"}, now=NOW, context=an_intake_context())

    assert read == {"model": "claude-sonnet-5-5", "maxTokens": 5}
    assert len(warnings) == 2
    with pytest.raises(InvalidRequest, match=r"options\.effort must be one of"):
        parse_options({"effort": "?"}, now=NOW, context=an_intake_context())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)
FIELD = st.sampled_from([*FIELDS, *OPTIONS, "data", "url", "role", "content", "mediaType"]) | st.text(max_size=12)
NEAR = st.recursive(
    JSON | st.sampled_from(["live", "batch", "user", "10m", "2027-01-01T00:00:00Z", "https://a.example", PDF, "smart"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELD, inner, max_size=6),
    max_leaves=20,
)


@given(body=NEAR, key=st.none() | st.text(max_size=10), form=st.booleans())
def test_any_value_is_a_submission_or_a_refusal(body, key, form):
    """There is no other outcome."""
    try:
        parse(body, now=NOW, context=an_intake_context(), idempotency_key=key, form=form)
    except InvalidRequest as exc:
        assert exc.problems and all(problem.field and problem.problem for problem in exc.problems)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"needBy": "2h"}, "needBy was ignored: it is only read with mode auto"),
        ({"needBy": "2h", "mode": "batch"}, "needBy was ignored: it is only read with mode auto"),
        ({"mode": "auto"}, "mode auto without needBy is a batch"),
    ],
)
def test_an_unused_time_is_warned_about(body, words):
    [warning] = accepted(body, context=an_intake_context()).warnings

    assert words in warning


@pytest.mark.parametrize(("body", "hint"), [([{"prompt": "Hei"}], True), ("Hei", False), (None, False)])
def test_a_list_of_requests_is_shown_the_way_to_the_bulk(body, hint):
    assert ("/api/claude/bulk" in refused(body)["body"]) is hint
