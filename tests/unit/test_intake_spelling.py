"""Slips of known names, and names that only look like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.intake.body import FIELDS
from claude_relay.core.intake.options import OPTIONS
from claude_relay.core.intake.suggestions import distance, suggest


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
    assert suggest(slip, FIELDS) == name


@pytest.mark.parametrize("name", ["note", "code", "node", "date", "user", "type", "id", "x", "", "color", "w" * 5000])
def test_a_word_of_its_own_is_left_alone(name):
    """Short words have many neighbours."""
    assert suggest(name, FIELDS) is None


@pytest.mark.parametrize("name", [*FIELDS, *OPTIONS])
def test_no_known_name_is_near_another_of_its_object(name):
    """Or a right field would be a slip of its neighbour."""
    siblings = FIELDS if name in FIELDS else OPTIONS

    assert suggest(name, [each for each in siblings if each != name]) is None


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
