"""Slips of known names, and names that only look like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.intake.body import KNOWN
from claude_relay.core.intake.options import KNOWN as OPTIONS
from claude_relay.core.intake.spelling import distance, meant


@pytest.mark.parametrize(
    ("slip", "name"),
    [
        ("webhookURL", "webhookUrl"),
        ("webhook-url", "webhookUrl"),
        ("WEBHOOK_URL", "webhookUrl"),
        ("webhookUri", "webhookUrl"),
        ("wehbookUrl", "webhookUrl"),
        ("promt", "prompt"),
        ("prompts", "prompt"),
        ("request_id", "requestId"),
        ("meta_data", "metadata"),
        ("message", "messages"),
        ("file", "files"),
        ("mdoe", "mode"),
        ("priorty", "priority"),
    ],
)
def test_a_slip_is_recognised(slip, name):
    assert meant(slip, KNOWN) == name


@pytest.mark.parametrize("name", ["note", "code", "node", "date", "user", "type", "id", "x", "", "color", "w" * 5000])
def test_a_word_of_its_own_is_left_alone(name):
    """Short words have many neighbours."""
    assert meant(name, KNOWN) is None


@pytest.mark.parametrize("name", [*KNOWN, *OPTIONS])
def test_no_known_name_is_near_another_of_its_object(name):
    """Or a right field would be a slip of its neighbour."""
    siblings = KNOWN if name in KNOWN else OPTIONS

    assert meant(name, [each for each in siblings if each != name]) is None


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [("", "", 0), ("a", "", 1), ("mode", "mode", 0), ("mdoe", "mode", 1), ("kitten", "sitting", 3), ("ab", "ba", 1)],
)
def test_the_distance_counts_single_slips(one, other, steps):
    assert distance(one, other) == steps


@given(st.text(max_size=8), st.text(max_size=8))
def test_the_distance_is_the_same_both_ways(one, other):
    """And no greater than writing the longer one anew."""
    assert distance(one, other) == distance(other, one) <= max(len(one), len(other))
