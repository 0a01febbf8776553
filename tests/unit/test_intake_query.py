"""Query parameters that the HTTP API and the command line share: limits, times, filters, group names."""

from __future__ import annotations

import pytest

from claude_relay.core.intake.group import GROUP_RULE, check_group_name
from claude_relay.core.intake.query import (
    job_filter,
    parse_limit,
    parse_page_cursor,
    parse_redeliver_url,
    parse_time_or_age,
)
from claude_relay.errors import InvalidRequest
from claude_relay.webhooks.allowlist import PrivateAllowlist
from claude_relay.webhooks.ssrf_guard import literal_problem
from tests.support.intake import NOW


def problems(error: pytest.ExceptionInfo[InvalidRequest]) -> dict[str, str]:
    return {problem.field: problem.problem for problem in error.value.problems}


@pytest.mark.parametrize(
    ("limit", "size"), [(None, 50), ("", 50), ("1", 1), ("500", 500), (1, 1), (500, 500), ("007", 7)]
)
def test_a_limit_is_1_to_500(limit: str | int | None, size: int) -> None:
    assert parse_limit(limit, default=50) == size


@pytest.mark.parametrize("limit", ["0", "501", "x", "-1", "1.5", "٣", "9" * 5000, 0, 501, -1])
def test_any_other_limit_is_refused(limit: str | int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_limit(limit, default=50)

    assert problems(caught) == {"limit": "must be a whole number from 1 to 500"}


def test_since_is_a_time_or_an_age() -> None:
    assert parse_time_or_age("since", "2h", now=NOW) == NOW - 7200
    assert parse_time_or_age("since", "1970-01-01T00:01:00Z", now=NOW) == 60.0
    assert parse_time_or_age("since", "", now=NOW) is None
    with pytest.raises(InvalidRequest) as caught:
        parse_time_or_age("since", "yesterday", now=NOW)
    assert list(problems(caught)) == ["since"]


def test_a_filter_reports_every_problem_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        job_filter(now=NOW, status=["happy"], since="then", limit="0")

    assert list(problems(caught)) == ["status", "since", "limit"]


def test_a_filter_without_parameters_lists_fifty_jobs_of_any_state() -> None:
    which = job_filter(now=NOW, owner="a")

    assert (which.owner, list(which.states), which.since, which.limit) == ("a", [], None, 50)


@pytest.mark.parametrize("url", ["ftp://a.example/", 7, "http://10.0.0.1/"])
def test_an_invalid_redeliver_url_is_refused(url: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_redeliver_url(url, lambda text: literal_problem(text, PrivateAllowlist.parse([])))

    assert list(problems(caught)) == ["url"]


def test_a_group_name_that_no_job_can_have_is_refused() -> None:
    assert check_group_name("a.B-c_9") == "a.B-c_9"
    for name in ("", "a b", "é", "x" * 65):
        with pytest.raises(InvalidRequest) as caught:
            check_group_name(name)
        assert problems(caught) == {"group": f"must be {GROUP_RULE}"}


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("1970-01-02", 86_400.0, 172_800.0),
        ("1970-02", 31 * 86_400.0, 59 * 86_400.0),
        ("1970-01-01T00:01:00Z", 60.0, 60.0),
        ("2h", NOW - 7200, NOW - 7200),
    ],
)
def test_a_day_or_month_is_its_beginning_as_since_and_its_end_as_until(text: str, start: float, end: float) -> None:
    """CASES A14: `--since 2026-11 --until 2026-11` is November."""
    which = job_filter(now=NOW, since=text, until=text)

    assert (which.since, which.until) == (start, end)


def test_every_filter_has_one_name_and_a_problem_of_its_own() -> None:
    """CASES A14."""
    texts = dict.fromkeys(("group", "key", "model", "host"), "a")
    which = job_filter(now=NOW, status="failed,pending", error="timeout", dead="true", unacked="false", **texts)
    assert [which.group, which.key, which.model, which.host] == ["a"] * 4
    assert ([error.value for error in which.errors], which.dead, which.unacked) == (["timeout"], True, False)

    with pytest.raises(InvalidRequest) as caught:
        job_filter(now=NOW, status="happy", error="sad", since="2026-13", until="2026-02-30", host=7)
    assert list(problems(caught)) == ["status", "error", "since", "until", "host"]


@pytest.mark.parametrize("word", ["dead", "unacked"])
def test_a_flag_is_a_word_of_a_query_or_a_value_of_json(word: str) -> None:
    """No other is guessed at."""
    for value in (True, "true", "True", "1"):
        assert getattr(job_filter(now=NOW, **{word: value}), word) is True
    for value in (False, None, "", "false", "False", "0"):
        assert getattr(job_filter(now=NOW, **{word: value}), word) is False
    for value in ("maybe", 2, "TRUE"):
        with pytest.raises(InvalidRequest) as caught:
            job_filter(now=NOW, **{word: value})
        assert problems(caught) == {word: "must be true or false"}


def test_statuses_and_errors_come_as_a_list_or_with_commas() -> None:
    """Each is a word of the API, with spaces around it or none."""
    which = job_filter(now=NOW, status=["failed", "pending"], error="timeout, budget,")
    assert which == job_filter(now=NOW, status="failed, pending", error=["timeout", "budget", None, ""])
    assert [error.value for error in which.errors] == ["timeout", "budget"] and len(which.states) == 4


@pytest.mark.parametrize("cursor", ["x" * 25, "x" * 27, "é" + "x" * 25, "x" * 25 + "-", " "])
def test_a_cursor_is_that_of_the_page_before(cursor: str) -> None:
    """An id of 26 letters and digits; without one it is the first page."""
    with pytest.raises(InvalidRequest) as caught:
        parse_page_cursor(cursor)

    assert list(problems(caught)) == ["cursor"]
    assert parse_page_cursor("01ARZ3NDEKTSV4RRFFQ69G5FAV") == "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert parse_page_cursor("") is parse_page_cursor(None) is None


def test_a_redelivery_may_go_to_its_own_url() -> None:
    assert parse_redeliver_url("https://a.example/", lambda _: None) == "https://a.example/"
    assert parse_redeliver_url(None, lambda _: "no") is None
