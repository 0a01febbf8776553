"""Parsing and formatting of durations, sizes and rates."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_relay.core.text.durations import MAX_DURATION, format_duration, parse_duration
from claude_relay.core.text.rates import Rate, parse_rate
from claude_relay.core.text.sizes import MAX_SIZE, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("0", 0),
        ("0s", 0),
        ("0.5s", 0.5),
        ("1h30m", 5400),
        ("1d 2h", 93600),
        (" 10 M ", 600),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1s", "1x", "1m1h", "1m1m", "1e3s", "nan", "inf", "1.5", "٣s", "1s\n2s", "9" * 400 + "s", "3651d", "1w"],
)
def test_an_invalid_duration_is_refused_with_a_cure(text):
    with pytest.raises(ValueError, match=r"such as|maximum"):
        parse_duration(text)


def test_a_bare_number_needs_a_unit():
    """
    Some people mean seconds by 30, others minutes.
    """
    with pytest.raises(ValueError, match="needs its unit"):
        parse_duration("30")


@given(st.integers(0, int(MAX_DURATION) * 1_000_000))
def test_a_formatted_duration_parses_back(micros):
    assert parse_duration(format_duration(micros / 1e6)) == micros / 1e6


@given(st.text(max_size=80))
def test_any_string_is_a_bounded_duration_or_an_error(text):
    try:
        assert 0 <= parse_duration(text) <= MAX_DURATION
    except ValueError as exc:
        assert str(exc)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (90, "1m30s"), (86400, "1d"), (0.25, "0.25s"), (-1, "0s")])
def test_a_duration_is_formatted_short(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"), [("4MiB", 4 * 2**20), ("512 kib", 512 * 2**10), ("1GB", 10**9), ("17", 17), ("0", 0), ("3B", 3)]
)
def test_a_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5MiB", "1TiB2", "9" * 400, "999999999999999GiB", "4 M"])
def test_an_invalid_size_is_refused_with_a_cure(text):
    with pytest.raises(ValueError, match=r"such as|maximum"):
        parse_size(text)


@given(st.integers(0, MAX_SIZE))
@example(MAX_SIZE - 1)
def test_a_formatted_size_parses_back(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100/15m", Rate(100, 900)), ("10/m", Rate(10, 60)), (" 5 / 1s ", Rate(5, 1)), ("OFF", None)],
)
def test_a_rate_is_read(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "100/", "/15m", "0/15m", "5/0", "-5/1m", "1.5/1m", "²/1m", "9" * 20 + "/1m"]
)
def test_an_invalid_rate_is_refused_with_a_cure(text):
    with pytest.raises(ValueError, match="such as"):
        parse_rate(text)


@given(st.builds(Rate, st.integers(1, 10**9 - 1), st.integers(1, 10**6)))
def test_a_formatted_rate_parses_back(rate):
    assert parse_rate(str(rate)) == rate
