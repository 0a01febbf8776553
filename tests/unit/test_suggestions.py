"""Suggestions for misspelt names, and names that only look like a known one."""

import pytest

from claude_relay.config import OPTIONS as SETTINGS
from claude_relay.core.intake.body import FIELDS
from claude_relay.core.intake.options import OPTIONS
from claude_relay.core.text.suggestions import suggest


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
        ("priorty", "priority"),
    ],
)
def test_a_misspelt_field_is_recognised(slip, name):
    assert suggest(slip, FIELDS) == name


@pytest.mark.parametrize("name", ["note", "code", "node", "date", "user", "type", "id", "x", "", "color", "w" * 5000])
def test_another_word_is_left_alone(name):
    """Short words have many neighbours."""
    assert suggest(name, FIELDS) is None


@pytest.mark.parametrize(
    ("name", "names"), [(name, names) for names in (FIELDS, OPTIONS) for name in names], ids=lambda each: str(each)[:20]
)
def test_no_field_resembles_another_of_its_object(name, names):
    """Otherwise a correct field would be reported as a misspelling of its neighbour."""
    assert suggest(name, [each for each in names if each != name]) is None


@pytest.mark.parametrize(
    ("slip", "name"),
    [("relay_model", "RELAY_MODEL"), ("RELAY_MODLE", "RELAY_MODEL"), ("RELAY_CONCURENCY", "RELAY_CONCURRENCY")],
)
def test_a_misspelt_setting_is_recognised(slip, name):
    assert suggest(slip, [row.name for row in SETTINGS]) == name


def test_without_slips_only_the_spelling_may_differ():
    assert suggest("MAX-TOKENS", OPTIONS, slips=False) == "maxTokens"
    assert suggest("maxToken", OPTIONS, slips=False) is None
