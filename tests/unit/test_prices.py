"""What a call cost: exact to the last fraction of a cent, and nothing at all where a price is not known."""

from datetime import date

import pytest

from claude_relay.claude.prices import cost_usd, table


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
    assert dollars == cost_usd(model, usage(**counts))


def test_a_batch_costs_half():
    counts = usage(input_tokens=1_000_000, output_tokens=1_000_000)

    assert cost_usd("claude-opus-5-5", counts, batch=True) == 12.0


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
    assert cost_usd(model, usage(**counts)) is None


def test_no_tokens_cost_nothing():
    assert cost_usd("claude-opus-5-5", usage()) == 0.0


def test_the_table_says_when_it_was_true_and_each_row_is_whole():
    """
    A row that lacks a price would make answers without a cost; one with a wrong key would never be looked at.
    """
    assert date.fromisoformat(table()["dated"]) <= date.today()
    for model, price in table()["models"].items():
        for one in (price, price.get("long", price)):
            assert {"input", "output", "cache_read", "cache_write_5m", "cache_write_1h"} == set(one) - {
                "long",
                "above",
            }, model
