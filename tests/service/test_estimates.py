"""Estimates of a submit: what is shown of prices and limits, and what is stored (nothing)."""

from __future__ import annotations

from typing import Any

import pytest

from claude_relay.config.price_file import load_prices
from claude_relay.errors import InvalidRequest
from claude_relay.services import Relay
from tests.support.intake import NOW, an_intake_context

PRICES = load_prices(None)


def estimated(relay: Relay, *, prices: Any = PRICES, **body: Any) -> dict[str, Any]:
    return relay.estimates.estimate({"prompt": "Hei", **body}, an_intake_context(prices=prices), now=NOW)


def test_an_estimate_has_tokens_price_and_cost_and_stores_nothing(relay: Relay) -> None:
    """CASES M12: the range of the cost is that of the tokens at the prices that are shown with it."""
    shown = estimated(relay, requestId="r-1", options={"model": "claude-sonnet-5-5", "maxTokens": 1000})

    low, high = shown["inputTokensRange"]["low"], shown["inputTokensRange"]["high"]
    assert 0 < low <= shown["inputTokens"] <= high
    assert (shown["basis"], shown["model"], shown["mode"], shown["maxOutputTokens"]) == (
        "estimate",
        "claude-sonnet-5-5",
        "live",
        1000,
    )
    assert shown["costUsd"] == {
        "low": PRICES.cost("claude-sonnet-5-5", {"input_tokens": low, "output_tokens": 1}),
        "high": PRICES.cost("claude-sonnet-5-5", {"input_tokens": high, "output_tokens": 1000}),
    }
    price = PRICES.of("claude-sonnet-5-5")
    assert price is not None and shown["prices"]["dated"] == PRICES.dated
    assert shown["prices"]["output"] == float(price.tokens["output"])
    assert (shown["maxCostUsd"], shown["warnings"]) == (None, [])
    assert sum(relay.queries.overview()["jobs"].values()) == 0


def test_a_model_without_a_price_has_tokens_only_and_a_warning(relay: Relay) -> None:
    """CASES M12: never a guess."""
    shown = estimated(relay, prices=None, options={"model": "claude-sonnet-5-5"})

    assert shown["inputTokens"] > 0
    assert (shown["costUsd"], shown["prices"]) == (None, None)
    assert shown["warnings"] == ["no price is known for claude-sonnet-5-5: see RELAY_PRICES"]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (0.0000001, ["is less than the lowest estimate: it would be refused"]),
        (0.001, ["a long answer would be stopped when its cost reaches maxCostUsd 0.001"]),
        (100, []),
    ],
)
def test_a_limit_of_the_cost_is_compared_with_the_range(relay: Relay, limit: float, words: list[str]) -> None:
    """CASES M12: a body over its maxCostUsd is estimated, as whether it fits is the question."""
    shown = estimated(relay, maxCostUsd=limit, options={"model": "claude-sonnet-5-5", "maxTokens": 1000})

    assert shown["maxCostUsd"] == limit
    assert len(shown["warnings"]) == len(words)
    assert all(word in warning for word, warning in zip(words, shown["warnings"], strict=True))


def test_a_long_prompt_is_shown_with_the_price_beyond_its_threshold(relay: Relay) -> None:
    shown = estimated(relay, options={"model": "claude-haiku-5-5"})

    assert shown["prices"]["long"]["above"] == 100_000


def test_a_body_that_a_submit_would_refuse_is_refused(relay: Relay) -> None:
    with pytest.raises(InvalidRequest):
        estimated(relay, prompt="")
