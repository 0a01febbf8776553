"""Directives in a prompt: parsing, refusals, and the order of faults."""

from pathlib import Path

import pytest

from claude_relay.sandbox import directives
from claude_relay.sandbox.directive_types import Directives, Kind

ROOT = Path(__file__).parents[2]


def test_a_prompt_without_directives_asks_for_nothing():
    assert directives.parse("Summarise [this] invoice: [1, 2]") == Directives()


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("[sandbox: slow 5s]", "slow", 5.0),
        ("[sandbox: slow 500ms]", "slow", 0.5),
        ("[Sandbox:  SLOW   1.5m ]", "slow", 90.0),
        ("[sandbox: hang 20s]", "hang", 20.0),
        ("[sandbox: refuse]", "refuse", True),
        ("[sandbox: max-tokens]", "cut_short", True),
        ("[sandbox: pause-turn]", "pause_turn", True),
        ("[sandbox: badjson]", "bad_json", True),
        ("[sandbox: long 2000]", "long", 2000),
        ("[sandbox: say Hei på deg]", "say", "Hei på deg"),
        ('[sandbox: say {"a": [1, [2]]}] and more', "say", '{"a": [1, [2]]}'),
    ],
)
def test_a_directive_sets_its_field(text, field, value):
    assert getattr(directives.parse(f"before {text} after"), field) == value


@pytest.mark.parametrize(
    ("text", "kind", "times", "status", "wait"),
    [
        ("overloaded", Kind.ERROR, None, 529, None),
        ("overloaded 2", Kind.ERROR, 2, 529, None),
        ("error 500 2", Kind.ERROR, 2, 500, None),
        ("rate-limit 3s 2", Kind.RATE_LIMIT, 2, 429, 3.0),
        ("rate-limit 2", Kind.RATE_LIMIT, 2, 429, None),
        ("spend-limit 1", Kind.SPEND_LIMIT, 1, 429, None),
        ("break 1", Kind.BREAK, 1, 529, None),
        ("end-early", Kind.END_EARLY, None, 529, None),
        ("stall 2s 1", Kind.STALL, 1, 529, 2.0),
    ],
)
def test_a_fault_has_its_times(text, kind, times, status, wait):
    [fault] = directives.parse(f"[sandbox: {text}]").faults

    assert (fault.kind, fault.times, fault.status, fault.wait) == (kind, times, status, wait)


def test_a_stream_error_has_its_type_and_its_place():
    first, second = directives.parse("[sandbox: stream-error api_error early 1][sandbox: stream-error]").faults

    assert (first.error, first.early, first.times) == ("api_error", True, 1)
    assert (second.error, second.early, second.times) == ("overloaded_error", False, None)


def test_faults_queue_up_in_the_order_written():
    parsed = directives.parse("[sandbox: overloaded 2] hello [sandbox: break 1]")

    kinds = [fault and fault.kind for fault in map(parsed.fault, range(1, 5))]

    assert kinds == [Kind.ERROR, Kind.ERROR, Kind.BREAK, None]


def test_a_fault_without_a_number_never_ends():
    parsed = directives.parse("[sandbox: error 500]")

    assert parsed.fault(999) is not None


def test_a_hang_lasts_for_its_attempts_only():
    parsed = directives.parse("[sandbox: hang 3s 1]")

    assert [parsed.hang_time(1), parsed.hang_time(2)] == [3.0, 0.0]
    assert parsed.counted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[sandbox: sloww 5s]", "overloaded"),
        ("[sandbox: ]", "stream-error"),
        ("[sandbox: slow]", "slow TIME"),
        ("[sandbox: slow 5]", "slow TIME"),
        ("[sandbox: slow 2h]", "at most 1h"),
        ("[sandbox: error 200]", "400 to 599"),
        ("[sandbox: overloaded 0]", "1 to 1000"),
        ("[sandbox: long 99999999999999]", "100000"),
        ("[sandbox: refuse now]", "[sandbox: refuse]"),
        ("[sandbox: break 1]" * 51, "at most 50"),
    ],
)
def test_an_invalid_directive_is_refused_with_the_cure(text, says):
    with pytest.raises(directives.InvalidDirective) as caught:
        directives.parse(text)

    assert says in str(caught.value)


def test_a_bracket_that_was_never_closed_ends_with_the_prompt():
    assert directives.parse("Hi [sandbox: break 1").faults[0].times == 1


def test_directives_are_not_part_of_the_topic():
    assert (
        directives.without_directives("Read  [sandbox: slow 5s] the\ninvoice [sandbox: say [1]]") == "Read the invoice"
    )


def test_the_documented_table_lists_all_directives():
    assert directives.table() in (ROOT / "docs" / "reference" / "sandbox.md").read_text(encoding="utf-8")
