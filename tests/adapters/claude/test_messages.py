"""One call over a real socket through the real client: request and completion."""

import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from claude_relay.claude import CallTimeouts
from claude_relay.core.jobs.failure import Completion, ErrorType, Remedy
from claude_relay.errors import StoreUnavailable
from tests.support.claude_caller import HALF, SONNET, TEXT, Caller, a_prompt
from tests.support.eventually import eventually
from tests.support.fake_claude import Hang, Wait, answer, chunk, event, head, refusal, started, stopped, written


def test_an_answer_is_complete(fake, caller):
    done = caller()

    assert isinstance(done, Completion) and done.first_byte_at is not None
    assert abs(time.time() - done.first_byte_at) < 60
    assert replace(done, first_byte_at=None) == Completion(
        text=TEXT,
        model=SONNET,
        stop_reason="end_turn",
        usage={"input_tokens": 10, "output_tokens": 5},
        message_id="msg_fake",
        upstream_request_id="req_fake",
        cost_usd=0.00007,
    )
    assert not done.truncated


def test_a_call_is_one_post_with_the_key_and_the_stored_request(fake, caller):
    caller()

    [seen] = fake.books
    assert (seen.method, seen.path) == ("POST", "/v1/messages")
    assert seen.headers["authorization"] == "Bearer sk-ant-test"
    assert seen.headers["anthropic-version"] == "2026-10-21"
    assert seen.body == {
        "model": SONNET,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "Hei"}],
        "stream": True,
    }


def test_betas_in_raw_are_sent_in_the_header(fake, caller):
    caller(a_prompt({"prompt": "Hei", "options": {"raw": {"betas": ["a-1", "b-2"], "top_k": 3}}}))

    assert fake.books[0].headers["anthropic-beta"] == "a-1,b-2"
    assert fake.books[0].body["top_k"] == 3


def test_a_proxy_from_the_environment_is_not_used_for_loopback(fake, monkeypatch):
    """The sandbox runs on loopback, and a gateway may."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    caller = Caller(fake.url)

    done = caller()
    caller.messages.close()

    assert isinstance(done, Completion)


def test_a_repeated_long_system_prompt_gets_a_breakpoint(fake, caller):
    """On first use a breakpoint would only cost more."""
    request = {"prompt": "Hei", "options": {"systemPrompt": "Du er en regnskapsfører. " * 200}}

    caller(a_prompt(request))
    caller(a_prompt(request))

    first, second = (seen.body["system"] for seen in fake.books)
    assert first == request["options"]["systemPrompt"]
    assert second == [{"type": "text", "text": first, "cache_control": {"type": "ephemeral"}}]


def test_every_call_has_its_own_connection(fake, caller):
    """A kept-alive one may die while the next request is sent, which leaves unknown whether it is billed."""
    [kept] = refusal("500 Error", "api_error")
    fake.then(kept.replace(b"Connection: close\r\n", b""), Hang())

    assert caller().reason == "http_500"
    eventually(lambda: fake.books[0].outcome == "left")


def test_sending_is_called_once_before_the_first_byte(fake, caller):
    caller()

    assert len(caller.sent) == 1
    assert caller.sent[0] <= fake.books[0].began_at


def test_progress_reports_the_request_id_first_and_then_the_text(fake, caller):
    caller()

    first, *_, last = caller.progress
    assert (first.text, first.model, first.upstream_request_id) == ("", SONNET, "req_fake")
    assert first.usage == {"input_tokens": 10, "output_tokens": 1}
    assert last.text == TEXT


def test_progress_is_throttled_to_its_interval(fake):
    caller = Caller(fake.url, CallTimeouts(checkpoint=60, check_interval=0.02))
    caller()
    caller.messages.close()

    # Its start and its first words are told at once, whatever the interval.
    assert [partial.text for partial in caller.progress] == ["", "Hello fr"]


def test_an_answer_cut_at_its_token_limit_is_completed_and_truncated(fake, caller):
    fake.then(*answer(stop_reason="max_tokens"))

    assert caller().truncated


def test_tool_calls_and_server_tools_are_content(fake, caller):
    fetched = {"type": "web_fetch_tool_result", "tool_use_id": "s1", "content": {"url": "https://example.com"}}
    fake.then(
        head(),
        started(),
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""}),
        event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm."}),
        event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "sig"}),
        event("content_block_stop", index=0),
        event("content_block_start", index=1, content_block=fetched),
        event("content_block_stop", index=1),
        *written("Let me look.", index=2),
        event("content_block_start", index=3, content_block={"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
        event("content_block_delta", index=3, delta={"type": "input_json_delta", "partial_json": '{"a"'}),
        event("content_block_delta", index=3, delta={"type": "input_json_delta", "partial_json": ": [1]}"}),
        event("content_block_stop", index=3),
        *stopped("tool_use"),
    )

    done = caller()

    assert done.text == "Let me look."
    assert done.content == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        fetched,
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1]}},
    ]


def test_thoughts_alone_are_not_content(fake, caller):
    """They would be noise in callbacks; only a tool call must be sent back with them."""
    fake.then(
        head(),
        started(),
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": "s"}),
        *written("Hei", index=1),
        *stopped(),
    )

    done = caller()

    assert (done.text, done.content) == ("Hei", [])


def test_usage_is_flattened_and_the_latest_count_wins(fake, caller):
    creation = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 40}
    first = started(cache_creation_input_tokens=40, cache_creation=creation, service_tier="standard")
    fake.then(head(), first, *written("Hei"), *stopped(input_tokens=12, server_tool_use={"web_search_requests": 0}))

    done = caller()

    assert done.usage == {
        "input_tokens": 12,
        "output_tokens": 5,
        "cache_creation_input_tokens": 40,
        "ephemeral_1h_input_tokens": 40,
    }
    assert done.cost_usd == (12 * 2 + 5 * 10 + 40 * 4) / 1_000_000


@pytest.mark.parametrize("betas", [5, [5], ["a\r\nx: y"], {"a": 1}])
def test_betas_that_cannot_be_a_header_fail_the_job(fake, caller, betas):
    """A failure classified as a connection error would open the upstream circuit for all jobs."""
    failure = caller(a_prompt({"prompt": "Hei", "options": {"raw": {"betas": betas}}}))

    assert (failure.type, failure.remedy, failure.sent) == (ErrorType.INVALID_REQUEST, Remedy.FAIL, False)
    assert "options.raw.betas must be a list of names" in failure.message
    assert len(fake.books) == 0


@pytest.mark.parametrize(("betas", "header"), [("a-1, b-2", "a-1,b-2"), (["a-1"], "a-1"), ([], None), (None, None)])
def test_betas_are_sent_in_their_header(fake, caller, betas, header):
    caller(a_prompt({"prompt": "Hei", "options": {"raw": {"betas": betas}}}))

    assert fake.books[0].headers.get("anthropic-beta") == header
    assert "betas" not in fake.books[0].body


def test_an_unknown_model_has_no_cost(fake, caller):
    fake.then(*answer(model="claude-next-9"))

    done = caller()

    assert done.cost_usd is None
    assert done.warnings == ("no price is known for claude-sonnet-5-5: its costUsd is null and no budget counts it",)


@pytest.mark.parametrize(
    "usage", [{"server_tool_use": {"web_search_requests": 1}}, {"inference_geo": "us"}, {"service_tier": "priority"}]
)
def test_unpriced_usage_leaves_the_cost_empty_with_a_warning(fake, caller, usage):
    fake.then(head(), started(), *written("Hei"), *stopped(**usage))

    done = caller()

    assert done.cost_usd is None
    [warning] = done.warnings
    assert warning.startswith("costUsd leaves out parts that are not billed by the price list")


def test_unpriced_usage_before_a_pause_is_a_warning(fake, caller):
    """The sum covers the priced part, and a warning says so."""
    fake.then(head(), started(), *written("a"), *stopped("pause_turn", server_tool_use={"web_search_requests": 1}))
    fake.then(head(), started(message_id="msg_2"), *written("b"), *stopped())

    done = caller()

    assert (caller.followups[0].cost_usd, done.cost_usd, len(done.warnings)) == (None, 0.00007, 1)


def test_a_cost_limit_holds_for_tokens_beside_unpriced_usage(fake, caller):
    """A web search must not disable maxCostUsd."""
    searched = started(server_tool_use={"web_search_requests": 3})
    fake.then(head(), searched, *written("word " * 20_000), *stopped())

    failure = caller(a_prompt(max_cost_usd=0.001))

    assert (failure.type, failure.reason) == (ErrorType.BUDGET, "max_cost")


def test_the_requests_of_a_call_are_priced_separately(fake, caller):
    """Haiku 5.5 costs five times as much above 100,000 input tokens of one request, not of the whole call."""
    for number in range(2):
        first = started(message_id=f"msg_{number}", model="claude-haiku-5-5", input_tokens=60_000)
        fake.then(head(), first, *written("."), *stopped("pause_turn" if number == 0 else "end_turn"))

    done = caller(a_prompt(model="claude-haiku-5-5", max_cost_usd=0.02))

    assert (done.text, done.usage["input_tokens"]) == ("..", 120_000)


def test_a_paused_call_is_continued_and_everything_is_summed(fake, caller):
    fake.then(head(), started(), *written("First, "), *stopped("pause_turn"))
    fake.then(head(), started(message_id="msg_2"), *written("then."), *stopped())

    done = caller()

    assert (done.text, done.usage) == ("First, then.", {"input_tokens": 20, "output_tokens": 10})
    assert fake.books[1].body["messages"] == [
        {"role": "user", "content": "Hei"},
        {"role": "assistant", "content": [{"type": "text", "text": "First, "}]},
    ]
    assert len(caller.sent) == 1
    [paused] = caller.followups
    assert (paused.outcome, paused.usage, paused.text_length) == ("paused", {"input_tokens": 10, "output_tokens": 5}, 7)
    assert done.last_usage == paused.usage
    assert paused.cost_usd == done.cost_usd == 0.00007  # each of its own request


def test_a_further_request_that_cannot_be_recorded_is_not_sent(fake, caller):
    """The cost so far is kept, and the call is not released as one that was never made."""
    fake.then(head(), started(), *written("First, "), *stopped("pause_turn"))

    def full(step):
        raise StoreUnavailable("disk full")

    failure = caller.messages.call(
        a_prompt(), stop=lambda: None, sending=lambda: None, progress=lambda partial: None, on_followup=full
    )

    assert (failure.type, failure.remedy, failure.reason) == (ErrorType.INTERNAL, Remedy.RETRY, "not_recorded_on")
    assert (failure.sent, failure.partial, len(fake.books)) == (True, "First, ", 1)
    # The entry that is open in the ledger is the first request's.
    assert (failure.usage, failure.last_usage) == ({"input_tokens": 10, "output_tokens": 5}, None)
    assert failure.cost_usd == 0.00007


def test_a_call_is_accepted_once_when_the_headers_of_its_first_answer_arrive(fake, caller):
    """Long before its end, and not again by the requests that continue it."""
    answered = threading.Event()
    fake.then(head(), Wait(answered), started(), *written("First, "), *stopped("pause_turn"))
    fake.then(*answer("second."))
    thread = threading.Thread(target=caller)
    thread.start()
    eventually(lambda: caller.accepted)
    answered.set()
    thread.join(60)

    assert (len(caller.accepted), len(fake.books)) == (1, 2)


def test_a_refused_call_is_not_accepted(fake, caller):
    fake.then(*refusal("429 Too Many Requests", "rate_limit_error"))
    caller()

    assert caller.accepted == []


def test_an_acceptance_that_cannot_be_reported_does_not_harm_the_call(fake, caller):
    done = caller.messages.call(
        a_prompt(), stop=lambda: None, sending=lambda: None, progress=lambda partial: None, accepted=lambda: 1 / 0
    )

    assert done.text == TEXT


def test_endless_pauses_fail_the_call(fake, caller):
    fake.when("Hei", head(), started(), *written("."), *stopped("pause_turn"))

    failure = caller()

    assert (failure.type, failure.remedy, failure.reason) == (ErrorType.UPSTREAM, Remedy.FAIL, "pauses")
    assert failure.partial == "." * 11 == "." * len(fake.books)


def test_a_throttle_after_a_pause_is_retried(fake, caller):
    """The text before the pause has been billed."""
    fake.then(head(), started(), *written("First, "), *stopped("pause_turn"))
    fake.then(*refusal("429 Too Many Requests", "rate_limit_error"))

    failure = caller()

    assert (failure.remedy, failure.ambiguous, failure.partial) == (Remedy.RETRY, True, "First, ")


def test_a_refusal_is_a_failure(fake, caller):
    details = {"type": "refusal", "category": "cyber", "explanation": "No malware."}
    fake.then(head(), started(), *stopped("refusal", details))

    failure = caller()

    assert (failure.type, failure.remedy, failure.ambiguous) == (ErrorType.REFUSED, Remedy.FAIL, False)
    assert failure.message == "Claude declined to answer (cyber): No malware."
    assert (failure.usage, failure.cost_usd) == ({"input_tokens": 10, "output_tokens": 5}, 0.00007)


def test_an_internal_error_is_a_failure(fake, caller):
    failure = caller(a_prompt({"prompt": "Hei", "options": {"raw": {"x": object()}}}))

    assert (failure.type, failure.sent) == (ErrorType.INTERNAL, False)


def test_a_failed_checkpoint_does_not_end_the_call(fake, caller):
    def broken(partial):
        raise RuntimeError("locked")

    done = caller.messages.call(a_prompt(), stop=lambda: None, sending=lambda: None, progress=broken)

    assert done.text == TEXT


def test_neither_prompt_nor_answer_nor_key_is_logged(fake, caplog):
    """Even if the SDK is set to `debug`, at which it would log the request."""
    caplog.set_level(logging.DEBUG)
    for name in ("anthropic", "httpx2", "httpcore2"):
        caplog.set_level(logging.DEBUG, logger=name)
    caller = Caller(fake.url)
    fake.then(*answer("the secret answer"))
    fake.then(*HALF, chunk(b"data: the secret answer\n\n"))

    caller(prompt="the secret prompt")
    caller(prompt="the secret prompt")
    caller.messages.close()

    assert "secret" not in caplog.text
    assert "sk-ant" not in caplog.text


def test_importing_the_adapter_does_not_import_the_client():
    """The import takes seconds, and neither the API nor the CLI needs it."""
    code = "import sys, claude_relay.claude; sys.exit('anthropic' in sys.modules or 'httpx2' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_text_before_a_silence_is_reported_without_a_further_event(fake):
    """CONTRACT §9: its readers on other machines have it within a second, however long Claude thinks after it."""
    go_on = threading.Event()
    caller = Caller(fake.url, CallTimeouts(checkpoint=0.2, check_interval=0.02))
    fake.then(head(), started(), *written("Once "), *written("upon"), Wait(go_on), *written(" a time"), *stopped())
    with ThreadPoolExecutor() as pool:
        call = pool.submit(caller)
        eventually(lambda: caller.progress and caller.progress[-1].text == "Once upon")
        seen = len(caller.progress)
        go_on.set()

        assert call.result().text == "Once upon a time"
    assert seen <= 4  # the beginning, the first text, what follows it: none twice
