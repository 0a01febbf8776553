"""Costs of calls: exact, and None if a price is unknown."""

from datetime import date

import pytest

from claude_relay.config.price_file import load_prices, shipped
from claude_relay.core.money.prices import KINDS, read_prices, token_counts, unpriced
from claude_relay.errors import ConfigError


def usage(**counts):
    return {"input_tokens": 0, "output_tokens": 0} | counts


@pytest.mark.parametrize(
    ("model", "counts", "dollars"),
    [
        ("claude-opus-5-5", {"input_tokens": 1_000_000}, 4.0),
        ("claude-opus-5-5", {"output_tokens": 1_000_000}, 20.0),
        ("claude-opus-5-5", {"cache_read_input_tokens": 1_000_000}, 0.2),
        ("claude-opus-5-5", {"cache_creation_input_tokens": 1_000_000}, 5.0),
        ("claude-opus-5-5", {"cache_creation_input_tokens": 1_000_000, "ephemeral_1h_input_tokens": 1_000_000}, 8.0),
        ("claude-opus-5-5", {"cache_creation_input_tokens": 3_000_000, "ephemeral_1h_input_tokens": 1_000_000}, 18.0),
        ("claude-opus-5", {"input_tokens": 15, "output_tokens": 500}, 0.012575),
        ("claude-sonnet-5-5", {"input_tokens": 15, "output_tokens": 500}, 0.00503),
        ("claude-sonnet-5-5-20260915", {"input_tokens": 15, "output_tokens": 500}, 0.00503),
        ("claude-fable-5-1", {"input_tokens": 1000, "output_tokens": 1000}, 0.06),
        ("claude-haiku-5-5", {"input_tokens": 100_000, "output_tokens": 1000}, 0.0105),
        ("claude-haiku-5-5", {"input_tokens": 100_001, "output_tokens": 1000}, 0.0525005),
        ("claude-haiku-5-5", {"input_tokens": 1}, 0.0000001),
    ],
)
def test_a_cost_is_exact_and_never_rounded_to_nothing(model, counts, dollars):
    assert dollars == shipped().cost(model, usage(**counts))


def test_a_batch_costs_half():
    counts = usage(input_tokens=1_000_000, output_tokens=1_000_000)

    assert shipped().cost("claude-opus-5-5", counts, batch=True) == 12.0


@pytest.mark.parametrize(
    ("model", "counts"),
    [
        ("claude-fable-5-2", {"input_tokens": 1}),
        ("gpt-6", {"input_tokens": 1}),
        ("", {"input_tokens": 1}),
        ("claude-opus-5-5", {"input_tokens": 1, "web_search_requests": 2}),
    ],
)
def test_an_unknown_price_is_none_never_a_guess(model, counts):
    assert shipped().cost(model, usage(**counts)) is None


def test_no_tokens_cost_nothing():
    assert shipped().cost("claude-opus-5-5", usage()) == 0.0


def test_the_shipped_prices_are_dated_and_complete():
    """
    A row without a price would make answers without a cost.
    """
    assert date.fromisoformat(shipped().dated) <= date.today()
    for model, price in shipped().models.items():
        for one in (price.tokens, price.long or price.tokens):
            assert set(KINDS) == set(one), model


def test_an_operators_file_overrides_the_shipped_prices(tmp_path):
    """Its entries replace shipped ones, null removes a price, and the date is its own."""
    file = tmp_path / "prices.json"
    file.write_text(
        """{"dated": "2026-11-24", "each": {"web_search_requests": "0.01"}, "models": {
            "claude-opus-5-5": {"input": 8, "output": "40"}, "claude-opus-5": null,
            "house-large": {"input": "1", "output": "2"}}}"""
    )
    prices = load_prices(file)
    million = usage(input_tokens=1_000_000)

    assert prices.dated == "2026-11-24"
    assert [prices.cost(model, million) for model in ("claude-opus-5-5", "claude-opus-5", "house-large")] == [
        8.0,
        None,
        1.0,
    ]
    assert prices.cost("claude-sonnet-5-5", million | {"web_search_requests": 3}) == 2.03
    assert prices.cost("claude-opus-5-5", usage(cache_read_input_tokens=1)) is None


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("{", ["is not JSON"]),
        ("[]", ["must contain a JSON object"]),
        ("{}", ['"dated" must be the day']),
        ('{"dated": "2026-11-24", "modles": {}}', ['"modles" is not a known field']),
        ('{"dated": "2026-11-24", "models": []}', ['"models" must be an object']),
        (
            '{"dated": "24.11.2026", "models": {"m": {"input": "x", "outptu": 1}, "n": 1,'
            ' "o": {"input": -1, "output": 1}}}',
            [
                "models.m.outptu is not known",
                "models.m.output is missing",
                'models.m.input must be dollars, such as "2.50"',
                "models.n must be an object, or null",
                "models.o.input must be dollars",
                '"dated" must be the day',
            ],
        ),
        (
            '{"dated": "2026-11-24", "models": {"m": {"input": 1, "output": 1, "long": {"input": 1, "output": 1}}}}',
            ['models.m.long must be an object with "above"'],
        ),
        (
            '{"dated": "2026-11-24", "each": {"web_search_requests": true}}',
            ["each.web_search_requests must be dollars"],
        ),
    ],
)
def test_a_faulty_price_file_is_refused_with_a_sentence_for_each_fault(tmp_path, text, faults):
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_prices(file)

    assert len(caught.value.problems) == len(faults)
    for fault, problem in zip(faults, caught.value.problems, strict=True):
        assert fault in problem and problem.startswith(f"RELAY_PRICES {file}") and problem.endswith(".")


def test_a_missing_price_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_prices(tmp_path / "nothing.json")


def test_usage_without_a_kind_of_tokens_has_none_of_it():
    """A gateway may leave any of them out; a write without its lifetime is one of five minutes."""
    assert token_counts({}) == dict.fromkeys(KINDS, 0)
    written = {"cache_creation_input_tokens": 7, "ephemeral_1h_input_tokens": 3}
    assert token_counts(written) == dict.fromkeys(KINDS, 0) | {"cache_write_5m": 4, "cache_write_1h": 3}
    assert token_counts({"ephemeral_5m_input_tokens": 5})["cache_write_5m"] == 5
    assert "no price is known for m" in unpriced("m")


def one_model(**row):
    return read_prices({"dated": "2026-11-24", "models": {"m": {"input": 1, "output": 1, **row}}}, where="file")


def test_a_price_for_long_inputs_begins_beyond_its_limit():
    """Every kind of input counts towards it, the answer does not."""
    prices = one_model(cache_read=1, long={"above": 10, "input": 2, "output": 2, "cache_read": 2})

    for counts, dollars in (
        ({"input_tokens": 10, "output_tokens": 90}, 100),
        ({"input_tokens": 11, "output_tokens": 89}, 200),
        ({"input_tokens": 5, "cache_read_input_tokens": 6, "output_tokens": 89}, 200),
    ):
        assert prices.cost("m", counts) == dollars / 1_000_000
    assert prices.cost("m-20261124", {"input_tokens": 1}) == prices.cost("m-latest", {"input_tokens": 1}) == 0.000001
    assert prices.output_prices() == {"m": 1.0}


@pytest.mark.parametrize("above", [True, 0, -1, 1.5, "10", None])
def test_a_limit_of_long_inputs_is_a_number_of_tokens(above):
    with pytest.raises(ConfigError, match=r"models\.m\.long must be an object"):
        one_model(long={"above": above, "input": 2, "output": 2})
    assert one_model(long={"above": 1, "input": 2, "output": 2}).models["m"].above == 1
    assert one_model().models["m"].above == 0


@pytest.mark.parametrize(
    ("amount", "valid"),
    [("0", True), (100_000, True), ("100000.01", False), (-1, False), (True, False), ("NaN", False)],
)
def test_an_amount_is_up_to_a_hundred_thousand_dollars(amount, valid):
    """Nothing is a price as well."""
    if valid:
        assert one_model(input=amount).models["m"].tokens["input"] == int(amount)
    else:
        with pytest.raises(ConfigError, match="must be dollars"):
            one_model(input=amount)
