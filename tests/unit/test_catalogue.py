"""Which model is asked, whatever it was called."""

from datetime import datetime, timezone

import pytest

from claude_relay.core.models.catalog import BUILT_IN, ModelCatalog, from_memo, resolve

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
    gateway = ModelCatalog(as_of="2026-11-22", aliases={"smart": "house-large"}, current=frozenset({"house-large"}))

    assert asked("smart", catalogue=gateway)[0] == "house-large"


def test_the_built_in_catalogue_agrees_with_itself():
    """Aliases name current models, and nothing current has an end."""
    assert set(BUILT_IN.aliases.values()) <= BUILT_IN.current
    assert not BUILT_IN.current & set(BUILT_IN.retirements)


OCTOBER = datetime(2026, 10, 1, tzinfo=timezone.utc).timestamp()
LIST = [
    {"id": "claude-fable-6", "line": "fable"},
    {"id": "claude-opus-6", "line": "opus"},
    {"id": "claude-opus-5-5", "line": "opus"},
    {"id": "claude-sonnet-6", "line": "sonnet", "lifecycle": "deprecated"},
    {"id": "claude-sonnet-5-5", "line": "sonnet", "unknown": ["field"]},
    {
        "id": "claude-haiku-4-5-20251001",
        "line": "haiku",
        "lifecycle": "deprecated",
        "retiresAt": "2026-12-24T00:00:00Z",
    },
    {"id": "claude-opus-4-1", "line": "opus", "lifecycle": "deprecated", "retiresAt": "2026-11-01T00:00:00Z"},
    {"id": "claude-opus-4-6", "line": "opus", "lifecycle": "retired", "retiresAt": "2026-11-20T00:00:00Z"},
    {"id": "claude-sonnet-4-6", "line": "sonnet", "lifecycle": "deprecated"},
]


def fetched(models=LIST, *, at=NOVEMBER, prices=None):
    return from_memo({"fetchedAt": at, "models": models}, prices=prices)


def test_aliases_follow_the_list_the_newest_of_a_line_that_is_offered():
    assert fetched().aliases == {"smart": "claude-opus-6", "fast": "claude-sonnet-5-5", "cheap": "claude-sonnet-5-5"}


def test_release_dates_count_where_all_are_known_and_else_the_order_of_the_list():
    """Upstream lists the latest first, and an epoch stands for a date that is not known."""
    one = {"id": "claude-opus-1", "line": "opus", "createdAt": "2026-01-01T00:00:00Z"}
    two = {"id": "claude-opus-2", "line": "opus", "createdAt": "2026-02-01T00:00:00Z"}
    epoch = {**one, "createdAt": "1970-01-01T00:00:00Z"}

    assert fetched([one, two]).aliases["smart"] == "claude-opus-2"
    assert fetched([epoch, two]).aliases["smart"] == "claude-opus-1"


def test_a_list_without_lines_is_told_apart_by_price():
    models = [{"id": "house-large"}, {"id": "house-small"}, {"id": "house-odd"}]
    catalogue = fetched(models, prices={"house-large": 20.0, "house-small": 1.0})

    assert catalogue.aliases == {"smart": "house-large", "cheap": "house-small"}
    assert asked("house-odd", catalogue=catalogue) == ("house-odd", ())


@pytest.mark.parametrize(
    ("name", "model", "says"),
    [
        ("claude-opus-4-6", DEFAULT, "was retired on 2026-11-20"),
        ("claude-haiku-4-5", "claude-haiku-4-5", "will be retired on 2026-12-24"),
        ("claude-opus-4-1", "claude-opus-4-1", "was due to be retired on 2026-11-01"),
        ("claude-sonnet-4-6", "claude-sonnet-4-6", "on a day not announced yet"),
        ("claude-opus-9", "claude-opus-9", "is not on Anthropic's list of 2026-11-22"),
        ("claude-3-5-sonnet-20241022", DEFAULT, "was retired"),
    ],
)
def test_the_lifecycle_that_the_list_tells_is_the_signal(name, model, says):
    """A date that has passed only means that it is overdue; what is not listed is asked all the same."""
    found, [warning] = asked(name, catalogue=fetched())

    assert model == found and says in warning


def test_a_list_from_before_the_last_day_does_not_outlive_it():
    """No worker has looked since: better the default with a warning than a call that can only fail."""
    assert asked("claude-opus-4-1", catalogue=fetched(at=OCTOBER))[0] == DEFAULT


def test_a_default_that_is_retired_itself_hands_over_to_the_newest_of_its_line():
    """Jobs that name no model keep working, and say what became of it."""
    model, [warning] = asked(None, default="claude-opus-4-6", catalogue=fetched())
    assert model == "claude-opus-6" and "claude-opus-4-6 was retired" in warning

    model, [warning] = asked("claude-2.1", default="claude-opus-4-6", catalogue=fetched())
    assert model == "claude-opus-6" and "claude-opus-6 is used instead" in warning
