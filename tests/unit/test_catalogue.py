"""Which model is asked, whatever it was called."""

from datetime import datetime, timezone

import pytest

from claude_relay.core.catalogue import BUILT_IN, Catalogue, resolve

DEFAULT = "claude-sonnet-5-5"
NOVEMBER = datetime(2026, 11, 22, tzinfo=timezone.utc).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=timezone.utc).timestamp()


def asked(name, *, now=NOVEMBER, default=DEFAULT, catalogue=BUILT_IN):
    return resolve(name, default=default, catalogue=catalogue, now=now)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (None, DEFAULT),
        ("", DEFAULT),
        (" ", DEFAULT),
        ("smart", "claude-opus-5-5"),
        ("fast", "claude-sonnet-5-5"),
        ("Cheap", "claude-haiku-5-5"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("Claude-Opus-5-5 ", "claude-opus-5-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5-20251101"),
        ("claude-opus-9-20290101", "claude-opus-9-20290101"),
        ("claude-something-new", "claude-something-new"),
        ("anthropic/claude-sonnet-5-5", "anthropic/claude-sonnet-5-5"),
    ],
)
def test_aliases_and_ids_of_today_and_tomorrow_are_asked_without_a_word(name, model):
    """The relay never lags the API: what it does not know goes through."""
    assert (model, ()) == asked(name)


@pytest.mark.parametrize(
    "name",
    [
        "claude-3-5-sonnet-20241022",
        "claude-3-5-sonnet-latest",
        "claude-3-opus-20240229",
        "claude-3-haiku-20240307",
        "claude-3-7-sonnet-20250219",
        "claude-2",
        "claude-2.1",
        "claude-v1.3",
        "claude-instant-1.2",
        "claude-sonnet-4-20250514",
        "claude-opus-4-0",
        "claude-opus-4-1-20250805",
        "claude-mythos-preview",
    ],
)
def test_a_retired_model_becomes_the_default_and_says_so(name):
    """The seed's own model among them: its callers are answered, and told."""
    model, [warning] = asked(name)

    assert model == DEFAULT
    assert name in warning and DEFAULT in warning and "retired" in warning


@pytest.mark.parametrize("name", ["claude-sonnet-4-5", "claude-sonnet-4-5-20250929"])
def test_a_model_near_its_end_is_asked_until_its_last_day(name):
    """A warning carries the day; the day after, the default steps in."""
    model, [warning] = asked(name)
    assert name == model and "2026-11-30" in warning

    model, [warning] = asked(name, now=DECEMBER)
    assert model == DEFAULT and "2026-11-30" in warning


def test_the_last_day_is_still_a_day():
    """Retired on the 30th means that the 30th still answers."""
    last = datetime(2026, 11, 30, 23, 59, tzinfo=timezone.utc).timestamp()

    assert asked("claude-sonnet-4-5", now=last)[0] == "claude-sonnet-4-5"


@pytest.mark.parametrize("name", ["gpt-4o", "smrt", "sonnet", "claude sonnet", "claude-" + "x" * 200, "../claude"])
def test_what_is_no_claude_model_is_refused_with_the_names_that_are(name):
    """A clear word at the door instead of a 404 half an hour later."""
    with pytest.raises(ValueError, match="cheap, fast, smart"):
        asked(name)


def test_the_operators_default_is_never_second_guessed():
    """Behind a gateway it may be called anything."""
    assert asked("my-model", default="my-model") == ("my-model", ())
    assert asked(None, default="claude-3-opus-20240229") == ("claude-3-opus-20240229", ())


def test_a_catalogue_from_the_api_knows_names_that_are_no_claude():
    """What the upstream lists can be asked."""
    gateway = Catalogue(as_of="2026-11-22", aliases={"smart": "house-large"}, current=frozenset({"house-large"}))

    assert asked("smart", catalogue=gateway)[0] == "house-large"


def test_the_built_in_catalogue_agrees_with_itself():
    """Aliases name current models, and nothing current has an end."""
    assert set(BUILT_IN.aliases.values()) <= BUILT_IN.current
    assert not BUILT_IN.current & set(BUILT_IN.ends)
