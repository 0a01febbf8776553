"""Classification of upstream errors: the table of the contract, row by row."""

import email.utils

import pytest

from claude_relay.claude.classify import classify, presentable
from claude_relay.claude.rate_limits import Quota, RateLimits, retry_after
from claude_relay.core.jobs.failure import ErrorType, Remedy

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("status", "kind", "type_", "remedy"),
    [
        (400, "invalid_request_error", "invalid_request", "fail"),
        (401, "authentication_error", "permission", "park"),
        (402, "billing_error", "budget", "park"),
        (403, "permission_error", "permission", "fail"),
        (404, "not_found_error", "not_found", "fail"),
        (405, None, "invalid_request", "fail"),
        (408, None, "timeout", "soon"),
        (409, "conflict_error", "upstream", "soon"),
        (413, "request_too_large", "too_large", "fail"),
        (422, None, "invalid_request", "fail"),
        (429, "rate_limit_error", "rate_limit", "wait"),
        (500, "api_error", "upstream", "soon"),
        (502, None, "upstream", "soon"),
        (503, None, "upstream", "soon"),
        (504, "timeout_error", "timeout", "soon"),
        (529, "overloaded_error", "overloaded", "wait"),
        (302, None, "upstream", "soon"),
    ],
)
def test_an_error_response_is_classified_by_its_status(status, kind, type_, remedy):
    """Each status has one classification, and none is ambiguous."""
    failure = classify(status=status, kind=kind, now=NOW)

    assert (ErrorType(type_), Remedy(remedy)) == (failure.type, failure.remedy)
    assert not failure.ambiguous
    assert failure.reason == f"http_{status}"
    assert failure.message


@pytest.mark.parametrize(
    ("kind", "type_", "remedy"),
    [
        ("overloaded_error", "overloaded", "wait"),
        ("rate_limit_error", "rate_limit", "wait"),
        ("api_error", "upstream", "soon"),
        ("timeout_error", "timeout", "soon"),
        ("invalid_request_error", "invalid_request", "fail"),
        ("billing_error", "budget", "park"),
        ("something_new", "upstream", "soon"),
        (None, "upstream", "soon"),
    ],
)
def test_an_error_inside_a_stream_is_classified_by_its_type(kind, type_, remedy):
    """The status of a stream is always 200."""
    failure = classify(status=None, kind=kind, now=NOW)

    assert (ErrorType(type_), Remedy(remedy)) == (failure.type, failure.remedy)


@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error", "api_error", "invalid_request_error"])
def test_an_error_after_text_is_ambiguous(kind):
    """An overload after text is not a throttle: something may have been billed."""
    failure = classify(status=None, kind=kind, began=True, now=NOW)

    assert (failure.remedy, failure.ambiguous) == (Remedy.RETRY, True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, "overloaded_error"), (503, "overloaded_error"), (400, "billing_error"), (403, "authentication_error")],
)
def test_a_type_that_affects_more_than_one_job_overrides_the_status(status, kind):
    """An overload with status 500 must throttle the family, a billing error with status 400 must not fail every job."""
    assert classify(status=status, kind=kind, now=NOW).remedy in (Remedy.THROTTLE, Remedy.PARK)


@pytest.mark.parametrize("status", [400, 402, 429])
@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_a_spend_cap_parks_the_queue(status, code):
    """It is detected by its code, whatever the status; waiting as for a rate limit would never end."""
    failure = classify(status=status, kind="rate_limit_error", code=code, now=NOW)

    assert (Remedy.PARK, ErrorType.BUDGET, None, code) == (
        failure.remedy,
        failure.type,
        failure.retry_after,
        failure.reason,
    )


def test_a_spend_cap_with_a_reset_time_parks_until_then():
    details = {"error_code": "enforced_spend_limit_reached", "resets_at": "2027-02-01T00:00:00Z"}

    failure = classify(status=429, code="enforced_spend_limit_reached", details=details, now=NOW)

    assert failure.retry_after == 1_801_440_000.0 - NOW


CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."
USAGE = "You have reached your specified API usage limits. You will regain access on 2027-02-01 at 00:00 UTC."
HOLD = "This organization has been disabled."
WORKSPACE = "This request would exceed your workspace's API usage limits. You will regain access on 2027-02-01."


@pytest.mark.parametrize(
    ("text", "code", "type_", "reason", "reset"),
    [
        (CREDIT, None, ErrorType.BUDGET, "credit_balance", None),
        (USAGE, None, ErrorType.BUDGET, "usage_limit", 1_801_440_000.0),
        (HOLD, None, ErrorType.PERMISSION, "organization_on_hold", None),
        (WORKSPACE, None, ErrorType.BUDGET, "usage_limit", 1_801_440_000.0),
        ("Your team has exceeded its monthly spending limit.", None, ErrorType.BUDGET, "usage_limit", None),
        ("Please appeal.", "organization_on_hold", ErrorType.PERMISSION, "organization_on_hold", None),
    ],
)
@pytest.mark.parametrize("status", [None, 400, 403])
def test_a_limit_of_the_account_that_comes_as_a_bad_request_parks_the_queue(status, text, code, type_, reason, reset):
    """CASES F1: without an error code the beginning of the sentence decides; in a response, a stream and a batch."""
    failure = classify(status=status, kind="invalid_request_error", code=code, text=text, now=NOW)

    assert (failure.type, failure.remedy, failure.reason) == (type_, Remedy.PARK, reason)
    assert failure.retry_after == (reset and reset - NOW)
    assert text in failure.message
    assert not failure.shows_the_key_works


@pytest.mark.parametrize("status", [None, 400, 403])
@pytest.mark.parametrize("text", ["Your API key has been disabled", "This token was revoked.", "The key is expired"])
def test_a_key_that_was_taken_back_parks_the_queue_whatever_the_status(status, text):
    """CASES F1, F8: in the words of a 403 or a 400, as gateways send it."""
    failure = classify(status=status, kind="permission_error", text=text, now=NOW)

    assert (failure.type, failure.remedy) == (ErrorType.PERMISSION, Remedy.PARK)
    assert not failure.shows_the_key_works


@pytest.mark.parametrize(
    "text",
    [
        "model: this key has been disabled",
        "Your API key does not have permission to use the specified resource.",
        f"messages.0.{CREDIT}: Extra inputs are not permitted",
        f"{CREDIT}: Extra inputs are not permitted",
        f"tools.0: {USAGE}",
        "max_tokens: must be lower; you have reached your specified limit",
    ],
)
def test_a_caller_cannot_park_the_queue_by_the_words_in_a_request(text):
    """CASES F1: a validation error quotes names that the caller has chosen."""
    assert classify(status=400, kind="invalid_request_error", text=text, now=NOW).remedy is Remedy.FAIL


@pytest.mark.parametrize("date", ["9999-99-99 at 00:00 UTC", "2020-01-01", "0001-01-01 at 99:99 UTC"])
def test_an_impossible_or_past_reset_date_is_ignored(date):
    text = f"You have reached your specified API usage limits. You will regain access on {date}."

    assert classify(status=400, text=text, now=NOW).retry_after is None


def test_the_wording_of_other_errors_is_ignored():
    """Only type and code count."""
    text = "overloaded: rate limit, spend limit reached, please retry"

    assert Remedy.FAIL is classify(status=400, kind="invalid_request_error", text=text, now=NOW).remedy


def test_the_message_contains_the_upstream_text_without_keys():
    failure = classify(status=400, text="bad\nkey sk-ant-api03-abcDEF, " + "x" * 900, now=NOW)

    assert "bad key [redacted], xxx" in failure.message
    assert "abcDEF" not in failure.message
    assert len(failure.message) < 600
    assert "\n" not in presentable("a\nb")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "0"}, 1.0),
        ({"retry-after": "-5"}, 1.0),
        ({"retry-after": "999999"}, 900.0),
        ({"retry-after": email.utils.formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": email.utils.formatdate(NOW - 30, usegmt=True)}, 1.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_parsed_in_all_its_forms_within_bounds(headers, seconds):
    """Seconds, milliseconds or a date; never a hot loop or a pause of days; invalid values are ignored."""
    assert seconds == retry_after(headers, now=NOW)
    assert seconds == classify(status=429, kind="rate_limit_error", headers=headers, now=NOW).retry_after


def test_a_ramp_limit_waits_for_its_header():
    failure = classify(
        status=429, kind="rate_limit_error", code="ramp_limit_exceeded", headers={"retry-after": "7"}, now=NOW
    )

    assert (failure.remedy, failure.retry_after, failure.reason) == (Remedy.THROTTLE, 7.0, "ramp_limit_exceeded")


def test_without_retry_after_the_exhausted_limit_sets_the_wait():
    headers = {
        "anthropic-ratelimit-requests-remaining": "3",
        "anthropic-ratelimit-requests-reset": "2027-01-15T08:02:00Z",
        "anthropic-ratelimit-input-tokens-limit": "1000",
        "anthropic-ratelimit-input-tokens-remaining": "0",
        "anthropic-ratelimit-input-tokens-reset": "2027-01-15T08:00:20Z",
    }

    assert classify(status=429, headers=headers, now=NOW).retry_after == 20.0
    assert RateLimits.parse(headers, now=NOW, status=429).input_tokens == Quota(limit=1000, remaining=0, reset=NOW + 20)


def test_invalid_rate_limit_headers_are_ignored():
    headers = {"anthropic-ratelimit-requests-remaining": "many", "anthropic-ratelimit-requests-reset": "tomorrow"}

    assert RateLimits() == RateLimits.parse(headers, now=NOW)
