"""Error responses, and errors inside a stream with status 200."""

import pytest

from claude_relay.core.jobs.failure import ErrorType, Remedy
from tests.support.claude_caller import HALF, HALF_USAGE, PING, SONNET, Caller, a_prompt
from tests.support.fake_claude import END, Hang, answer, chunk, event, head, refusal, started


@pytest.mark.parametrize(
    ("status", "kind", "type_", "remedy"),
    [
        ("400 Bad Request", "invalid_request_error", "invalid_request", "fail"),
        ("401 Unauthorized", "authentication_error", "permission", "park"),
        ("403 Forbidden", "permission_error", "permission", "fail"),
        ("404 Not Found", "not_found_error", "not_found", "fail"),
        ("413 Too Large", "request_too_large", "too_large", "fail"),
        ("429 Too Many", "rate_limit_error", "rate_limit", "wait"),
        ("500 Error", "api_error", "upstream", "soon"),
        ("503 Away", "api_error", "upstream", "soon"),
        ("529 Overloaded", "overloaded_error", "overloaded", "wait"),
    ],
)
def test_an_error_response_is_one_call_and_unambiguous(fake, caller, status, kind, type_, remedy):
    fake.then(*refusal(status, kind, None, ("x-should-retry", "true"), text="No such luck."))

    failure = caller()

    assert (failure.type, failure.remedy) == (ErrorType(type_), Remedy(remedy))
    assert (failure.sent, failure.ambiguous, failure.usage, failure.cost_usd) == (True, False, None, None)
    assert failure.upstream_request_id == "req_fake"
    assert "No such luck." in failure.message
    assert len(fake.books) == 1


def test_a_throttle_waits_for_retry_after(fake, caller):
    fake.then(*refusal("429 Too Many", "rate_limit_error", None, ("retry-after", "2")))

    assert caller().retry_after == 2.0


def test_a_spend_cap_parks(fake, caller):
    fake.then(*refusal("429 Too Many", "rate_limit_error", "enforced_spend_limit_reached"))

    failure = caller()

    assert (failure.remedy, failure.reason) == (Remedy.PARK, "enforced_spend_limit_reached")


LOW_CREDIT = "Your credit balance is too low to access the Anthropic API."


def test_a_bad_request_that_tells_of_low_credit_parks_after_one_call(fake, caller):
    """CASES F1: also under a schema, where an ordinary 400 is asked again with the schema in the prompt."""
    fake.then(*refusal("400 Bad Request", "invalid_request_error", text=LOW_CREDIT))
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}

    failure = caller(a_prompt({"prompt": "Hei", "options": {"outputSchema": schema}}))

    assert (failure.type, failure.remedy, failure.ambiguous) == (ErrorType.BUDGET, Remedy.PARK, False)
    assert len(fake.books) == 1


def test_low_credit_told_inside_a_stream_parks(fake, caller):
    """CASES F1."""
    fake.then(head(), event("error", error={"type": "invalid_request_error", "message": LOW_CREDIT}), END)

    failure = caller()

    assert (failure.type, failure.remedy) == (ErrorType.BUDGET, Remedy.PARK)


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b'{"error": "oops"}', b'{"error": {"type": 7}}', b"[]"]
)
def test_an_error_with_an_unexpected_body_is_classified_by_status(fake, caller, body):
    fake.then(head("502 Bad Gateway", kind="text/html") + (chunk(body) if body else b"") + END)

    assert (caller().reason, caller.seconds < 30) == ("http_502", True)


def test_an_error_with_an_endless_body_is_classified_by_status(fake, caller_with):
    fake.then(head("529 Overloaded", kind="application/json"), chunk(b'{"type"'), Hang())

    assert caller_with(call_timeout=2.0)().remedy is Remedy.THROTTLE


def test_a_redirect_is_not_followed(fake, caller):
    """The key and the prompt go to the configured host only; the message has the cure (a sibling of CASES S18)."""
    fake.then(head("307 Temporary Redirect", [("Location", f"{fake.url}/elsewhere")]) + END)

    failure = caller()
    assert failure.reason == "http_307"
    assert "redirect" in failure.message and "set it to the address" in failure.message
    assert [seen.path for seen in fake.books] == ["/v1/messages"]


def test_the_rate_limits_of_each_response_are_reported(fake):
    reports = []
    headers = (
        ("anthropic-ratelimit-requests-limit", "50"),
        ("anthropic-ratelimit-requests-remaining", "49"),
        ("anthropic-ratelimit-output-tokens-reset", "2027-01-15T08:00:00Z"),
        ("retry-after", "3"),
    )
    fake.then(head(headers=headers), *answer()[1:])
    fake.then(*refusal("429 Too Many", "rate_limit_error", None, *headers))
    caller = Caller(fake.url, on_limits=lambda family, limits: reports.append((family, limits)))

    caller()
    caller()
    caller.messages.close()

    assert [family for family, _ in reports] == ["sonnet", "sonnet"]
    assert [limits.status for _, limits in reports] == [200, 429]
    assert (reports[0][1].requests.limit, reports[0][1].requests.remaining) == (50, 49)
    assert (reports[1][1].output_tokens.reset, reports[1][1].retry_after) == (1_800_000_000.0, 3.0)


def an_error(kind):
    return event("error", error={"type": kind, "message": "Sorry."})


@pytest.mark.parametrize("prefix", [(head(),), (head(), PING), (head(), started())])
def test_an_overload_before_any_text_is_a_throttle(fake, caller, prefix):
    fake.then(*prefix, an_error("overloaded_error"), END)

    failure = caller()

    assert (failure.type, failure.remedy, failure.ambiguous) == (ErrorType.OVERLOADED, Remedy.THROTTLE, False)


def test_an_overload_after_text_is_ambiguous(fake, caller):
    fake.then(*HALF, an_error("overloaded_error"), END)

    failure = caller()

    assert (failure.type, failure.remedy, failure.ambiguous) == (ErrorType.OVERLOADED, Remedy.RETRY, True)
    assert (failure.partial, failure.usage) == ("Half an ", HALF_USAGE)
    assert (failure.model, failure.cost_usd) == (SONNET, 0.00005)


def test_another_error_after_the_start_is_ambiguous(fake, caller):
    fake.then(head(), started(), an_error("api_error"), END)

    failure = caller()

    assert (failure.type, failure.remedy, failure.ambiguous) == (ErrorType.UPSTREAM, Remedy.RETRY, True)


def test_a_key_in_an_upstream_message_is_redacted(fake):
    """Even if it does not look like a key: a gateway's may be any word."""
    caller = Caller(fake.url, api_key="hunter2hunter2")
    fake.then(*refusal("401 Unauthorized", "authentication_error", text="hunter2hunter2 is no key"))

    failure = caller()
    caller.messages.close()

    assert failure.message.endswith(": [redacted] is no key")
