"""Resolution of a requested name to a model."""

from datetime import datetime, timezone

import pytest

from claude_relay.core.models.catalog import BUILT_IN, ModelCatalog, from_memo, resolve
from claude_relay.core.money.prices import read_prices

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
def test_aliases_and_current_or_new_ids_resolve_without_a_warning(name, model):
    """The relay never lags the API: unlisted names are passed on."""
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
def test_a_retired_model_becomes_the_default_with_a_warning(name):
    """The Node service's own model is among them: its callers get an answer with a warning."""
    model, [warning] = asked(name)

    assert model == DEFAULT
    assert name in warning and DEFAULT in warning and "retired" in warning


@pytest.mark.parametrize("name", ["claude-sonnet-4-5", "claude-sonnet-4-5-20250929"])
def test_a_model_is_used_until_its_last_day_with_a_warning(name):
    """The warning has the day; from the day after, the default is used."""
    model, [warning] = asked(name)
    assert name == model and "2026-11-30" in warning

    model, [warning] = asked(name, now=DECEMBER)
    assert model == DEFAULT and "2026-11-30" in warning


def test_a_model_is_still_used_on_its_last_day():
    """A model retired on the 30th still answers on the 30th."""
    last = datetime(2026, 11, 30, 23, 59, tzinfo=timezone.utc).timestamp()

    assert asked("claude-sonnet-4-5", now=last)[0] == "claude-sonnet-4-5"


@pytest.mark.parametrize("name", ["gpt-4o", "smrt", "sonnet", "claude sonnet", "claude-" + "x" * 200, "../claude"])
def test_a_name_that_is_no_claude_model_is_refused_with_the_aliases(name):
    """A clear message at once instead of a 404 half an hour later."""
    with pytest.raises(ValueError, match="cheap, fast, smart"):
        asked(name)


def test_the_operators_default_is_not_replaced():
    """Behind a gateway it may have any name."""
    assert asked("my-model", default="my-model") == ("my-model", ())
    assert asked(None, default="claude-3-opus-20240229") == ("claude-3-opus-20240229", ())


def test_a_fetched_catalog_may_have_other_names():
    """Every model on the upstream's list can be used."""
    gateway = ModelCatalog(as_of="2026-11-22", aliases={"smart": "house-large"}, current=frozenset({"house-large"}))

    assert asked("smart", catalogue=gateway)[0] == "house-large"


def test_the_built_in_catalog_is_consistent():
    """Aliases name current models, which have no last day."""
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


def test_an_alias_is_the_newest_active_model_of_its_line():
    assert fetched().aliases == {"smart": "claude-opus-6", "fast": "claude-sonnet-5-5", "cheap": "claude-sonnet-5-5"}


def test_the_order_of_the_list_counts_if_a_release_date_is_missing():
    """The upstream lists the latest first, and an epoch value means an unknown date."""
    first = {"id": "claude-opus-1", "line": "opus", "createdAt": "2026-01-01T00:00:00Z"}
    two = {"id": "claude-opus-2", "line": "opus", "createdAt": "2026-02-01T00:00:00Z"}
    epoch = {**first, "createdAt": "1970-01-01T00:00:00Z"}

    assert fetched([first, two]).aliases["smart"] == "claude-opus-2"
    assert fetched([epoch, two]).aliases["smart"] == "claude-opus-1"


def test_without_lines_aliases_are_chosen_by_price():
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
def test_the_lifecycle_of_the_list_decides(name, model, says):
    """A past date only means that the retirement is overdue; an unlisted model is still used."""
    resolved, [warning] = asked(name, catalogue=fetched())

    assert model == resolved and says in warning


def test_an_old_list_does_not_extend_a_models_last_day():
    """No worker has fetched a list since: the default with a warning is better than a call that must fail."""
    assert asked("claude-opus-4-1", catalogue=fetched(at=OCTOBER))[0] == DEFAULT


def test_a_retired_default_is_replaced_by_the_newest_of_its_line():
    """Jobs that name no model keep working, with a warning."""
    model, [warning] = asked(None, default="claude-opus-4-6", catalogue=fetched())
    assert model == "claude-opus-6" and "claude-opus-4-6 was retired" in warning

    model, [warning] = asked("claude-2.1", default="claude-opus-4-6", catalogue=fetched())
    assert model == "claude-opus-6" and "claude-opus-6 is used instead" in warning


@pytest.mark.parametrize("value", ["8192", True, False, 0, -1, 8192.0, [8192], {}, None])
def test_a_limit_that_is_no_count_is_unknown(value):
    """CASES M9: a gateway's list may hold anything; a request is not lowered to such a limit."""
    [model] = fetched([{"id": "house-large", "maxTokens": value, "maxInputTokens": value}]).models

    assert (model.max_tokens, model.max_input_tokens) == (None, None)


@pytest.mark.parametrize("entry", [None, "claude-opus-6", [], {}, {"id": 7}, {"id": ""}, {"id": None}])
def test_an_entry_that_is_no_model_is_left_out(entry):
    """CASES M9: the others of the list are offered all the same."""
    assert [model.id for model in fetched([entry, {"id": "house-large"}]).models] == ["house-large"]


def test_a_limit_that_is_a_count_is_read():
    [model] = fetched([{"id": "house-large", "maxTokens": 1, "maxInputTokens": 8192}]).models

    assert (model.max_tokens, model.max_input_tokens) == (1, 8192)


def test_an_alias_needs_no_price_where_the_list_has_lines():
    """CASES M9: of two models of one line the newest is meant, though only the earlier one has a price."""
    models = [{"id": "claude-opus-6", "line": "opus"}, {"id": "claude-opus-5-5", "line": "opus"}]

    assert fetched(models, prices={"claude-opus-5-5": 20.0}).aliases["smart"] == "claude-opus-6"


def test_models_without_lines_are_ranked_by_the_price_of_their_output():
    """CASES M9: and those that are not active, or have no price, are not chosen."""
    prices = read_prices(
        {
            "dated": "2026-11-22",
            "models": {
                "house-large": {"input": "1", "output": "20"},
                "house-small": {"input": "2", "output": "5"},
                "house-old": {"input": "0", "output": "90"},
            },
        },
        where="the test",
    ).output_prices()
    models = [
        {"id": "house-odd"},
        {"id": "house-large"},
        {"id": "house-small"},
        {"id": "house-old", "lifecycle": "deprecated"},
    ]

    assert fetched(models, prices=prices).aliases == {"smart": "house-large", "cheap": "house-small"}


@pytest.mark.parametrize(
    ("model", "retired"), [("claude-opus-5", True), ("claude-opus-5-1", False), ("claude-opus-4-9-20260101", True)]
)
def test_a_version_without_a_minor_number_is_the_first_of_its_major_one(model: str, retired: bool) -> None:
    catalog = ModelCatalog(as_of="2026-11-22", aliases={}, current=frozenset(), oldest=(5, 1))

    assert catalog.is_retired(model, today="2026-11-22") is retired


def test_each_dated_model_of_the_list_is_itself_and_without_its_date_the_first():
    """A date that is not on the list stands for the model all the same."""
    dated = [{"id": f"claude-opus-6-2026{day}", "maxTokens": int(day)} for day in ("0901", "0301")]
    catalogue = from_memo({"fetchedAt": NOVEMBER, "models": dated})

    def limit(name):
        return getattr(catalogue.listed(name), "max_tokens", None)

    assert [limit(f"claude-opus-6{date}") for date in ("-20260301", "-20260901", "", "-20260101")] == [
        301,
        901,
        901,
        901,
    ]
    assert limit("claude-opus-7") is None


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("smart", True),
        ("Claude-Opus-5-5", True),
        ("claude-haiku-4-5-20251001", True),
        ("claude-2.1", True),
        ("claude-sonnet-4-5", True),
        ("claude-opus-4-1", True),
        ("claude-opus-99", False),
        ("gpt-4o", False),
    ],
)
def test_a_catalogue_has_aliases_current_and_retired_models(name, known):
    """In any case of letters, with or without a date."""
    assert BUILT_IN.lists(name) is known


@pytest.mark.parametrize(
    "memo",
    [None, [], {}, {"fetchedAt": NOVEMBER}, {"fetchedAt": True, "models": [{"id": "x"}]}, {"models": [{"id": "x"}]}],
)
def test_without_a_usable_list_the_built_in_catalogue_counts(memo):
    """A stored note of another form is none."""
    assert from_memo(memo) is BUILT_IN


def test_the_fields_of_a_listed_model_are_taken_where_they_are_of_their_kind():
    """Its id is its name where it has none; an epoch value is no time."""
    [model] = from_memo(
        {
            "fetchedAt": NOVEMBER,
            "models": [
                {"id": "a", "displayName": "A", "maxTokens": 5, "createdAt": "1970-01-02T00:00:00Z", "lifecycle": ""},
                {"id": ""},
                "b",
            ],
        }
    ).models
    assert (model.name, model.max_tokens, model.created_at, model.lifecycle) == ("A", 5, 86_400.0, "active")
    odd = {"id": "a", "displayName": 7, "line": "", "maxTokens": True, "createdAt": "1970-01-01T00:00:00Z"}
    for entry in (odd, {**odd, "maxTokens": 0, "createdAt": "2026-01-01"}, {**odd, "maxTokens": "9", "createdAt": 5}):
        [other] = from_memo({"fetchedAt": NOVEMBER, "models": [entry]}).models
        assert (other.name, other.line, other.max_tokens, other.created_at) == ("a", None, None, None)


def test_the_newest_of_a_line_is_that_with_the_latest_date_or_the_first_of_the_list():
    """Where the date of one is unknown none counts; what is not active is none."""
    old, new = {"id": "a", "line": "opus", "createdAt": "2026-01-01T00:00:00Z"}, {"id": "b", "line": "opus"}
    for models, smart in (
        ([old, {**new, "createdAt": "2026-02-01T00:00:00Z"}], "b"),
        ([old, new], "a"),
        ([{**old, "lifecycle": "deprecated"}, new], "b"),
    ):
        assert from_memo({"fetchedAt": NOVEMBER, "models": models}).aliases["smart"] == smart


def test_a_model_that_was_due_to_retire_is_used_while_the_list_has_it():
    """On its last day it will be retired, a day later it was due to be: the list is newer than that day."""
    listed = [{"id": "claude-opus-6", "lifecycle": "deprecated", "retiresAt": "2026-11-22T00:00:00Z"}]
    catalogue = from_memo({"fetchedAt": DECEMBER, "models": listed})

    assert "will be retired on 2026-11-22" in asked("claude-opus-6", catalogue=catalogue)[1][0]
    assert "was due to be retired on" in asked("claude-opus-6", catalogue=catalogue, now=NOVEMBER + 86_400)[1][0]
    early = from_memo({"fetchedAt": NOVEMBER, "models": listed})
    assert asked("claude-opus-6", catalogue=early, now=DECEMBER)[0] == DEFAULT
