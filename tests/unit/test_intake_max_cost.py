"""maxCostUsd: refused with the numbers if it cannot be kept."""

import pytest

from claude_relay.config import load_prices
from tests.support.intake import accepted, an_intake_context, refused

PRICED = an_intake_context(prices=load_prices(None))
LONG = "Some words that cost something. " * 2000


def test_a_limit_that_the_request_alone_exceeds_is_refused_with_the_numbers():
    problem = refused({"prompt": LONG, "maxCostUsd": 0.001}, context=PRICED)["maxCostUsd"]

    assert "is 0.001" in problem and "$2 per million" in problem and "2026-11-22" in problem
    assert "raise it, or send less" in problem


def test_a_limit_is_shown_without_an_exponent():
    assert "is 0.000001, but" in refused({"prompt": LONG, "maxCostUsd": 0.000001}, context=PRICED)["maxCostUsd"]


@pytest.mark.parametrize("limit", [0.5, "0.5"])
def test_a_limit_that_may_suffice_is_accepted(limit):
    """The minimum cost counts: the rest is checked while Claude writes."""
    assert accepted({"prompt": LONG, "maxCostUsd": limit}, context=PRICED).max_cost_usd == 0.5
    assert accepted({"prompt": "x", "maxCostUsd": 0.0001}, context=PRICED).max_cost_usd == 0.0001


def test_a_limit_without_a_known_price_is_refused():
    """Without a price the limit could not be enforced."""
    body = {"options": {"model": "claude-opus-9"}, "maxCostUsd": 5}

    assert "claude-opus-9 has no known price" in refused(body, context=PRICED)["maxCostUsd"]


def test_an_unknown_price_is_a_warning():
    [warning] = accepted({"options": {"model": "claude-opus-9"}}, context=PRICED).warnings

    assert "costUsd is null" in warning


def test_a_batch_may_cost_twice_as_much_before_it_is_refused():
    context = an_intake_context(prices=load_prices(None))

    assert "maxCostUsd" in refused({"prompt": LONG, "maxCostUsd": 0.02}, context=context)
    assert accepted({"prompt": LONG, "maxCostUsd": 0.02, "mode": "batch"}, context=context).max_cost_usd == 0.02


def test_a_continued_job_is_checked_by_the_worker():
    """The model may come from the continued job, too."""
    assert (
        accepted({"prompt": LONG, "maxCostUsd": 0.001, "continueFrom": "earlier"}, context=PRICED).max_cost_usd == 0.001
    )
