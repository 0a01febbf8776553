"""Times: RFC 3339 with an offset, or a duration from now."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.intake.times import rfc_3339
from tests.support.intake import NOW, accepted, an_intake_context, refused


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("2026-11-22T00:00:00Z", 0),
        ("2026-11-22t00:00:00z", 0),
        ("2026-11-22 00:00:10Z", 10),
        ("2026-11-22T01:00:00+01:00", 0),
        ("2026-11-21T18:30:00-05:30", 0),
        ("2026-11-22T00:00:00.250Z", 0.25),
        ("2026-11-22T00:00:00.123456789Z", 0.123456789),
        ("2026-12-31T23:59:60Z", 40 * 86_400),
    ],
)
def test_rfc_3339_is_parsed(text, after):
    """A leap second becomes the first second of the next day."""
    assert rfc_3339(text) - NOW == pytest.approx(after, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-22T00:00:00", "time zone"),
        ("2026-11-22", "such as"),
        ("2026-11-22T00:00Z", "such as"),
        ("22.11.2026", "such as"),
        ("tomorrow", "such as"),
        ("2026-02-30T00:00:00Z", "existing"),
        ("2026-11-22T24:00:00Z", "existing"),
        ("2026-11-22T00:00:61Z", "existing"),
        ("2026-11-22T00:00:00+24:00", "existing"),
        ("2026-11-22T00:00:00-01:60", "existing"),
        ("0000-01-01T00:00:00Z", "existing"),
        ("٢٠٢٦-11-22T00:00:00Z", "such as"),
    ],
)
def test_an_invalid_time_is_refused_with_the_problem(text, words):
    with pytest.raises(ValueError, match=words):
        rfc_3339(text)


@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
    st.integers(min_value=-1439, max_value=1439),
)
def test_isoformat_of_the_standard_library_is_parsed(moment, minutes):
    aware = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))

    assert rfc_3339(aware.isoformat()) == (aware - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"delay": "10m"}, NOW + 600),
        ({"delay": "0"}, NOW),
        ({"runAt": "2026-11-22T01:00:00Z"}, NOW + 3600),
        ({"runAt": " 2026-11-22T02:00:00+01:00 "}, NOW + 3600),
        ({"delay": "366d"}, NOW + 366 * 86_400),
    ],
)
def test_a_job_may_have_a_later_start(body, at):
    submission = accepted(body)

    assert (submission.run_at, submission.warnings) == (at, ())


def test_a_start_in_the_past_means_now_with_a_warning():
    submission = accepted({"runAt": "2020-01-01T00:00:00Z"})

    assert submission.run_at == NOW
    assert "runAt is in the past" in submission.warnings[0]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"runAt": "2026-11-22T01:00:00Z", "delay": "10m"}, "delay", "cannot be combined with runAt"),
        ({"runAt": "10m"}, "runAt", "use delay"),
        ({"runAt": "soon"}, "runAt", "such as"),
        ({"runAt": "2026-11-22T01:00:00"}, "runAt", "time zone"),
        ({"delay": "2026-11-22T01:00:00Z"}, "delay", "use runAt"),
        ({"delay": "600"}, "delay", "unit"),
        ({"delay": "-10m"}, "delay", "such as"),
        ({"delay": "367d"}, "delay", "366 days"),
        ({"runAt": "2206-11-22T01:00:00Z"}, "runAt", "366 days"),
        ({"deadline": "2026-11-21T23:59:59Z"}, "deadline", "in the past"),
        ({"deadline": "0"}, "deadline", "in the past"),
        ({"deadline": "soon"}, "deadline", "such as"),
        ({"deadline": "999d"}, "deadline", "366 days"),
        ({"deadline": "10m", "delay": "10m"}, "deadline", "before the start of the job"),
        ({"needBy": "2026-01-01T00:00:00Z"}, "needBy", "in the past"),
    ],
)
def test_an_impossible_time_is_refused_with_the_problem(body, field, words):
    [(named, problem)] = refused(body, context=an_intake_context()).items()

    assert named == field and words in problem


@pytest.mark.parametrize(("text", "at"), [("30m", NOW + 1800), ("2026-11-23T00:00:00Z", NOW + 86_400)])
def test_a_deadline_is_a_timestamp_or_a_duration(text, at):
    submission = accepted({"deadline": text, "needBy": text}, context=an_intake_context())

    assert (submission.deadline_at, submission.need_by) == (at, at)


def test_without_a_deadline_the_submission_has_none():
    """The default deadline is extended while the job cannot run, so it is not part of the submission."""
    assert accepted({}).deadline_at is None


@pytest.mark.parametrize(("seconds", "good"), [(366 * 86_400, True), (366 * 86_400 + 1, False)])
def test_a_time_may_be_a_leap_year_ahead_and_no_later(seconds, good):
    """A later one is most likely a mistyped year."""
    body = {"prompt": "x", "delay": f"{seconds}s"}

    assert accepted(body) if good else "delay" in refused(body)


def test_a_start_at_this_moment_is_not_in_the_past():
    """A second earlier is; both run at once."""
    assert accepted({"runAt": "2026-11-22T00:00:00Z"}).warnings == ()
    assert accepted({"runAt": "2026-11-21T23:59:59Z"}).warnings != ()


def test_times_that_were_written_as_such_stay_when_the_clock_is_set():
    """A duration moves with the clock; so does what was not sent."""
    stamp = "2026-11-23T00:00:00Z"

    for start, end in (({"runAt": stamp}, {"deadline": "2d"}), ({"delay": "10m"}, {"deadline": stamp}), ({}, {})):
        made = accepted({**start, **end}, context=an_intake_context())
        assert made.run_at_fixed is ("runAt" in start)
        assert made.deadline_fixed is (end.get("deadline") == stamp)
