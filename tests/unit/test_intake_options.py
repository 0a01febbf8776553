"""The options of a request."""

import pytest

from tests.support.intake import accepted, an_intake_context, refused


def options(**given):
    return accepted({"options": given}).request["options"]


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"model": 5}, "options.model", "a number"),
        ({"model": "gpt-4o"}, "options.model", "is not a Claude model: use one of cheap, fast, smart"),
        ({"maxTokens": 0}, "options.maxTokens", "a whole number of at least 1, not 0"),
        ({"maxTokens": "many"}, "options.maxTokens", "a whole number"),
        ({"maxTokens": -1}, "options.maxTokens", "at least 1"),
        ({"maxTokens": 1.5}, "options.maxTokens", "a whole number"),
        ({"maxTokens": "1.5"}, "options.maxTokens", "a whole number"),
        ({"maxTokens": True}, "options.maxTokens", "not true"),
        ({"maxTokens": [1]}, "options.maxTokens", "a list"),
        ({"maxTokens": 1e300}, "options.maxTokens", "too large"),
        ({"temperature": -0.1}, "options.temperature", "from 0 to 1"),
        ({"temperature": 1.1}, "options.temperature", "from 0 to 1"),
        ({"temperature": "warm"}, "options.temperature", "from 0 to 1"),
        ({"systemPrompt": ["x"]}, "options.systemPrompt", "a string"),
        ({"outputSchema": "object"}, "options.outputSchema", "an object"),
        ({"effort": "extreme"}, "options.effort", "low, medium, high, xhigh, max"),
        ({"raw": "x"}, "options.raw", "an object"),
        ({"raw": {"stream": False}}, "options.raw.stream", "cannot be set"),
        ({"raw": {"model": 5}}, "options.raw.model", "a model id"),
        ({"raw": {"model": ""}}, "options.raw.model", "a model id"),
        ({"raw": {"betas": 5}}, "options.raw.betas", "a list of names"),
        ({"raw": {"betas": ["x-2026", 5]}}, "options.raw.betas", "a list of names"),
        ({"raw": {"betas": ["a\r\nx-api-key: b"]}}, "options.raw.betas", "a list of names"),
        ({"raw": {"betas": "blå"}}, "options.raw.betas", "a list of names"),
    ],
)
def test_an_invalid_option_is_refused_with_the_cure(given, field, words):
    [(named, problem)] = refused({"options": given}).items()

    assert named == field and words in problem


@pytest.mark.parametrize("temperature", [0, 0.5, 1, "0.7", 1.0])
def test_a_temperature_is_dropped_with_a_warning(temperature):
    """No model accepts it any more, but every old scenario sends it."""
    submission = accepted({"options": {"temperature": temperature}})

    assert submission.request["options"] == {"model": "claude-sonnet-5-5", "maxTokens": 4096}
    assert "options.temperature was ignored" in submission.warnings[-1]


def test_a_retired_model_is_replaced_by_the_default():
    submission = accepted(
        {"options": {"model": "claude-3-5-sonnet-20241022"}}, context=an_intake_context(model="claude-haiku-5-5")
    )

    assert submission.model == submission.request["options"]["model"] == "claude-haiku-5-5"
    assert "claude-3-5-sonnet-20241022" in submission.warnings[0]


def test_raw_fields_are_passed_unchanged():
    """The relay never lags the API."""
    raw = {"thinking": {"type": "adaptive"}, "max_tokens": "whatever", "newest_field": None}

    assert options(raw=raw)["raw"] == raw


def test_a_raw_model_takes_precedence():
    """It is merged last, so limits and prices depend on it."""
    submission = accepted({"options": {"model": "smart", "raw": {"model": "claude-new-7"}}})

    assert submission.model == submission.request["options"]["model"] == "claude-new-7"
    assert submission.chosen_model and "raw" not in submission.request["options"]


@pytest.mark.parametrize(
    ("named", "asked", "said"),
    [
        ("claude-3-5-sonnet-20241022", "claude-sonnet-5-5", "options.raw.model claude-3-5-sonnet-20241022 was retired"),
        ("smart", "claude-opus-5-5", None),
        ("claude-sonnet-4-5", "claude-sonnet-4-5", "options.raw.model claude-sonnet-4-5 will be retired on 2026-11-30"),
        ("house/large-7", "house/large-7", None),
    ],
)
def test_a_raw_model_may_be_an_alias_or_retired(named, asked, said):
    """The 202 has the warning, not only the callback; new upstream names are passed on."""
    submission = accepted({"options": {"raw": {"model": named, "service_tier": "auto"}}})

    assert submission.model == asked
    assert submission.request["options"]["raw"] == {"service_tier": "auto"}
    assert bool(submission.warnings) is bool(said) and all(said in warning for warning in submission.warnings)


def test_a_schema_is_checked_by_the_context():
    context = an_intake_context(
        check_schema=lambda schema: None if schema.get("type") == "object" else "is no JSON Schema: …"
    )

    assert accepted({"options": {"outputSchema": {"type": "object"}}}, context=context)
    assert refused({"options": {"outputSchema": {"type": 5}}}, context=context) == {
        "options.outputSchema": "is no JSON Schema: …"
    }


def test_fallback_models_are_resolved_without_duplicates():
    given = ["smart", "claude-2.1", "claude-opus-5-5", "claude-opus-5"]
    options = accepted({"options": {"fallbackModels": given}}).request["options"]
    assert options["fallbackModels"] == ["claude-opus-5-5", "claude-opus-5"]

    set_for_all = an_intake_context(fallback_models=("cheap", "claude-sonnet-5-5"))
    assert accepted({}, context=set_for_all).request["options"]["fallbackModels"] == ["claude-haiku-5-5"]
    own = accepted({"options": {"fallbackModels": "claude-opus-5, smart"}}, context=set_for_all)
    assert own.request["options"]["fallbackModels"] == ["claude-opus-5", "claude-opus-5-5"]


def test_an_unknown_fallback_of_the_settings_is_a_warning():
    """A gateway's list may have it later, so it does not prevent the start."""
    [warning] = accepted({}, context=an_intake_context(fallback_models=("house-large",))).warnings

    assert "RELAY_FALLBACK_MODELS names house-large" in warning


def test_an_unknown_fallback_is_refused_by_its_index():
    assert (
        "is not a Claude model"
        in refused({"options": {"fallbackModels": ["smart", "gpt"]}})["options.fallbackModels[1]"]
    )
    many = [f"claude-opus-{number}" for number in range(10, 20)]
    assert "maximum is 5" in refused({"options": {"fallbackModels": many}})["options.fallbackModels"]
