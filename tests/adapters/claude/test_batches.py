"""The batch port on the wire: outcomes, and above all whether a failed create is ambiguous."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.claude.batches import AnthropicBatches
from claude_relay.claude.messages import AnthropicMessages
from claude_relay.config.price_file import load_prices
from claude_relay.core.jobs.failure import Completion, ErrorType, Failure, Remedy
from claude_relay.core.jobs.job import Job, State
from claude_relay.errors import StoreUnavailable
from claude_relay.ports import BatchRequest, BatchStatus, CallRequest, ResultsUnavailable
from tests.support.fake_claude import END, FakeClaude, Reset, chunk, head, refusal

JSON = head(kind="application/json")
SEEN = {
    "id": "msgbatch_1",
    "processing_status": "in_progress",
    "request_counts": {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-11-24T09:00:00Z",
    "expires_at": "2026-11-25T09:00:00Z",
    "something_new": {"is": "left alone"},
}
PARCEL = BatchRequest(custom_id="a-1", body=b'{"custom_id":"a-1","params":{}}')


@pytest.fixture
def fake() -> Iterator[FakeClaude]:
    with FakeClaude() as running:
        yield running


@pytest.fixture
def api(fake: FakeClaude) -> Iterator[AnthropicBatches]:
    messages = AnthropicMessages(api_key="sk-ant-x", prices=load_prices(None), base_url=fake.url)
    batches = messages.batches()
    yield batches
    batches.close()
    messages.close()


def body(value: Any) -> tuple[bytes, ...]:
    return (JSON, chunk(json.dumps(value).encode()), END)


def a_prompt(**options: Any) -> CallRequest:
    job = Job(
        id="j", owner="o", request_id="r", body_hash="h", state=State.BATCHED, version=1, created_at=0, updated_at=0,
        due_at=0, model="claude-sonnet-5-5", lane="batch",
    )  # fmt: skip
    return CallRequest(job=job, request={"prompt": "Hei", "options": {"maxTokens": 50, **options}})


def succeeded(text: str = "Svar", **message: Any) -> dict[str, Any]:
    defaults = {
        "id": "msg_1",
        "model": "claude-sonnet-5-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "output_tokens": 10},
    }
    return {"type": "succeeded", "message": defaults | message}


def create(api: AnthropicBatches) -> tuple[BatchStatus | Failure, list[str]]:
    calls: list[str] = []
    return api.create([PARCEL], sending=lambda: calls.append("sending")), calls


def test_a_batch_is_created_and_its_status_parsed(api: AnthropicBatches, fake: FakeClaude) -> None:
    fake.then(*body(SEEN))
    result, calls = create(api)

    assert isinstance(result, BatchStatus) and (result.id, result.ended, result.count) == ("msgbatch_1", False, 2)
    assert calls == ["sending"]
    assert fake.books[0].body == {"requests": [{"custom_id": "a-1", "params": {}}]}


@pytest.mark.parametrize(
    ("steps", "maybe"),
    [
        ((Reset(),), True),
        ((JSON, Reset()), True),
        (body({"not": "a batch"}), True),
        ((head(kind="text/html"), chunk(b"<html>"), END), True),
        (refusal("500 Internal Server Error", "api_error"), True),
        (refusal("504 Gateway Timeout", "timeout_error"), True),
        (refusal("400 Bad Request", "invalid_request_error"), False),
        (refusal("413 Payload Too Large", "request_too_large"), False),
        (refusal("401 Unauthorized", "authentication_error"), False),
        (refusal("429 Too Many Requests", "rate_limit_error"), False),
        (refusal("529 Overloaded", "overloaded_error"), False),
    ],
)
def test_a_failed_create_is_ambiguous_unless_rejected(
    api: AnthropicBatches, fake: FakeClaude, steps: tuple[Any, ...], maybe: bool
) -> None:
    """An ambiguous create is searched for; a rejected one is not, which would only cost time."""
    fake.then(*steps)
    result, calls = create(api)

    assert isinstance(result, Failure)
    assert (result.sent, result.ambiguous, calls) == (True, maybe, ["sending"])


def test_a_create_that_was_not_sent_is_unambiguous(api: AnthropicBatches, fake: FakeClaude) -> None:
    fake.stop()
    result, calls = create(api)

    assert isinstance(result, Failure) and (result.sent, result.ambiguous, calls) == (False, False, [])


def test_a_create_that_cannot_be_recorded_is_not_sent(api: AnthropicBatches, fake: FakeClaude) -> None:
    def refuse() -> None:
        raise StoreUnavailable("no")

    result = api.create([PARCEL], sending=refuse)

    assert isinstance(result, Failure) and (result.reason, result.sent) == ("not_recorded", False)
    assert not [seen for seen in fake.books if seen.outcome == "done"]


def test_the_key_is_sent_to_the_configured_host_only(api: AnthropicBatches, fake: FakeClaude) -> None:
    """Results are read from the configured base URL, whatever `results_url` is."""
    fake.then(head(kind="application/x-jsonl"), chunk(b'{"custom_id":"a","result":{"type":"expired"}}\n'), END)

    assert list(api.results("msgbatch/1")) == [("a", {"type": "expired"})]
    assert fake.books[0].path == "/v1/messages/batches/msgbatch%2F1/results"


@pytest.mark.parametrize(
    "steps",
    [
        (head(kind="application/x-jsonl"), chunk(b'{"custom_id":"a","result":{"type":"expired"}}\n'), Reset()),
        (head(kind="application/x-jsonl"), chunk(b'{"custom_id":"a","result":{"type":"expired"}}\n{"cus'), END),
        (head(kind="application/x-jsonl"), chunk(b'{"custom_id":"a","result":{"type":"expired"}}\n[]\n'), END),
        refusal("404 Not Found", "not_found_error"),
    ],
    ids=["cut", "half a line", "no result", "not there"],
)
def test_results_that_break_off_yield_the_complete_lines(
    api: AnthropicBatches, fake: FakeClaude, steps: tuple[Any, ...]
) -> None:
    fake.then(*steps)
    came = []
    with pytest.raises(ResultsUnavailable):
        for name, _ in api.results("msgbatch_1"):
            came.append(name)

    assert came == (["a"] if len(steps) > 1 else [])


def test_lines_may_be_split_anywhere(api: AnthropicBatches, fake: FakeClaude) -> None:
    line = json.dumps({"custom_id": "å", "result": succeeded("blåbær")}, ensure_ascii=False).encode() + b"\n"
    pieces = [chunk(line[at : at + 7]) for at in range(0, len(line), 7)]
    fake.then(head(kind="application/x-jsonl"), *pieces, END)
    [(name, result)] = api.results("msgbatch_1")
    done = api.outcome(result, a_prompt())

    assert name == "å" and isinstance(done, Completion) and done.text == "blåbær"


def test_an_answer_costs_half_and_reports_the_savings(api: AnthropicBatches) -> None:
    done = api.outcome(succeeded(), a_prompt())

    assert isinstance(done, Completion)
    assert done.cost_usd == pytest.approx((100 * 2 + 10 * 10) / 1e6 / 2)
    assert done.saved_usd == pytest.approx(done.cost_usd)


def test_a_schema_is_validated_as_in_a_live_call(api: AnthropicBatches) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    good = api.outcome(succeeded('```json\n{"a": 1}\n```'), a_prompt(outputSchema=schema))
    bad = api.outcome(succeeded('{"a": "x"}'), a_prompt(outputSchema=schema))

    assert isinstance(good, Completion) and good.json == {"a": 1}
    assert isinstance(bad, Failure) and (bad.type, bad.partial) == (ErrorType.SCHEMA, '{"a": "x"}')
    assert bad.cost_usd is not None


@pytest.mark.parametrize(
    ("result", "kind", "remedy", "cost"),
    [
        (succeeded(content=[], stop_reason="refusal"), ErrorType.REFUSED, Remedy.FAIL, True),
        (succeeded(stop_reason="pause_turn"), ErrorType.UPSTREAM, Remedy.RETRY, True),
        ({"type": "expired"}, ErrorType.TIMEOUT, Remedy.RETRY, False),
        ({"type": "canceled"}, ErrorType.UPSTREAM, Remedy.RETRY, False),
        ({"type": "something_new"}, ErrorType.UPSTREAM, Remedy.RETRY, False),
        ({"type": "succeeded", "message": {"id": 7}}, ErrorType.UPSTREAM, Remedy.RETRY, False),
        ({"type": "errored", "error": {"error": {"type": "invalid_request_error"}}}, ErrorType.INVALID_REQUEST,
         Remedy.FAIL, False),
        ({"type": "errored", "error": {"error": {"type": "overloaded_error"}}}, ErrorType.OVERLOADED, Remedy.THROTTLE,
         False),
        ({"type": "errored", "error": {"error": {"type": "billing_error"}}}, ErrorType.BUDGET, Remedy.PARK, False),
        ({"type": "errored", "error": {"error": {"type": "invalid_request_error",
          "message": "Your credit balance is too low to access the Anthropic API."}}},
         ErrorType.BUDGET, Remedy.PARK, False),  # CASES F1
        ({"type": "errored"}, ErrorType.UPSTREAM, Remedy.RETRY, False),
    ],
)  # fmt: skip
def test_each_result_type_has_its_outcome(
    api: AnthropicBatches, result: dict[str, Any], kind: ErrorType, remedy: Remedy, cost: bool
) -> None:
    end = api.outcome(result, a_prompt())

    assert isinstance(end, Failure)
    assert (end.type, end.remedy, bool(end.cost_usd)) == (kind, remedy, cost)


def test_a_possibly_refused_schema_is_called_live(api: AnthropicBatches) -> None:
    """The live call puts the schema into the prompt once it is refused."""
    invalid = {"type": "errored", "error": {"error": {"type": "invalid_request_error"}}}
    end = api.outcome(invalid, a_prompt(outputSchema={"type": "object", "properties": {"a": {"type": "integer"}}}))

    assert isinstance(end, Failure) and (end.reason, end.remedy) == ("schema_refused", Remedy.RETRY)


def test_a_request_too_large_for_a_batch_is_called_live(api: AnthropicBatches) -> None:
    """The live call uploads its files first."""
    end = api.outcome({"type": "errored", "error": {"error": {"type": "request_too_large"}}}, a_prompt())

    assert isinstance(end, Failure) and (end.type, end.reason) == (ErrorType.TOO_LARGE, "item_too_large")
    assert (end.remedy, end.cost_usd) == (Remedy.RETRY, 0.0)


def test_a_prefix_shared_in_a_batch_gets_a_breakpoint(api: AnthropicBatches, fake: FakeClaude) -> None:
    """The same system prompt with different invoices; some have their own breakpoints, one another system prompt."""
    clerk = "You read invoices with great care. " * 150
    own = {"system": [{"type": "text", "text": clerk, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}
    asked = [a_prompt(systemPrompt=clerk) for _ in range(4)] + [a_prompt(raw=own) for _ in range(4)]
    asked.append(a_prompt(systemPrompt="X" + clerk))
    requests = [api.prepare(f"a-{number}", prompt) for number, prompt in enumerate(asked)]
    assert all(isinstance(parcel, BatchRequest) for parcel in requests)
    fake.then(*body(SEEN))

    api.create(requests, sending=lambda: None)  # type: ignore[arg-type]
    *systems, other = [entry["params"]["system"] for entry in fake.books[0].body["requests"]]

    assert systems[:4] == [[{"type": "text", "text": clerk, "cache_control": {"type": "ephemeral"}}]] * 4
    assert systems[4:] == [own["system"]] * 4
    assert other == "X" + clerk

    fake.then(*body(SEEN))
    api.create(requests[:3], sending=lambda: None)  # type: ignore[arg-type]
    assert [entry["params"]["system"] for entry in fake.books[1].body["requests"]] == [clerk] * 3


def test_a_document_shared_in_a_batch_gets_a_breakpoint(api: AnthropicBatches, fake: FakeClaude) -> None:
    file = {"data": base64.b64encode(b"%PDF-1.7 " * 2000).decode(), "mediaType": "application/pdf"}
    asked = [
        replace(prompt := a_prompt(), request={**prompt.request, "prompt": f"{n}?", "files": [file]}) for n in range(4)
    ]
    fake.then(*body(SEEN))

    api.create([api.prepare(f"a-{n}", prompt) for n, prompt in enumerate(asked)], sending=lambda: None)  # type: ignore[misc]

    for entry in fake.books[0].body["requests"]:
        document, text = entry["params"]["messages"][0]["content"]
        assert document["cache_control"] == {"type": "ephemeral"} and "cache_control" not in text


def test_a_schema_that_fails_in_validation_ends_only_its_job(api: AnthropicBatches) -> None:
    """It is paid for; an exception would keep the results of the other jobs from being read."""
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/nowhere"}}}
    end = api.outcome(succeeded('{"a": 1}'), a_prompt(outputSchema=schema))

    assert isinstance(end, Failure)
    assert (end.type, end.remedy, end.partial) == (ErrorType.INVALID_REQUEST, Remedy.FAIL, '{"a": 1}')
    assert "outputSchema" in end.message
    assert end.cost_usd == pytest.approx((100 * 2 + 10 * 10) / 1e6 / 2)


@pytest.mark.parametrize("usage", [{"input_tokens": "many"}, {"input_tokens": 10, "output_tokens": 1e400}, [], 7])
def test_a_malformed_result_is_a_failure_and_not_an_exception(api: AnthropicBatches, usage: Any) -> None:
    end = api.outcome(succeeded(usage=usage), a_prompt())

    assert isinstance(end, (Completion, Failure))


def test_a_batch_request_is_a_call_without_streaming(api: AnthropicBatches) -> None:
    parcel = api.prepare("a-1", a_prompt(raw={"speed": "fast", "betas": ["x-2026"]}, systemPrompt="Kort"))

    assert isinstance(parcel, BatchRequest) and parcel.betas == ("x-2026",)
    assert json.loads(parcel.body) == {
        "custom_id": "a-1",
        "params": {
            "model": "claude-sonnet-5-5",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "Hei"}],
            "system": "Kort",
        },
    }


def test_a_cost_limit_uses_the_output_price_after_a_long_input(api: AnthropicBatches) -> None:
    """A batch cannot be stopped; with this model, output after a long input costs five times as much."""
    asked = a_prompt(maxTokens=100_000)
    asked = replace(
        asked,
        job=replace(asked.job, model="claude-haiku-5-5"),
        request={**asked.request, "prompt": "word " * 100_000},
        max_cost_usd=0.05,
    )

    parcel = api.prepare("a-1", asked)

    assert isinstance(parcel, BatchRequest)
    most = json.loads(parcel.body)["params"]["max_tokens"]
    used = {"input_tokens": 166_667, "output_tokens": most}
    assert 0.049 < (load_prices(None).cost("claude-haiku-5-5", used, batch=True) or 0.0) <= 0.05


def test_the_list_is_read_page_by_page_back_to_the_given_time(api: AnthropicBatches, fake: FakeClaude) -> None:
    first = [{**SEEN, "id": f"msgbatch_{number}"} for number in (9, 8)]
    old = {**SEEN, "id": "msgbatch_7", "created_at": "2026-11-20T09:00:00Z"}
    fake.then(*body({"data": first, "has_more": True}))
    fake.then(*body({"data": [old], "has_more": True}))
    recent = api.recent(since=1_795_500_000.0)

    assert not isinstance(recent, Failure) and [batch.id for batch in recent] == ["msgbatch_9", "msgbatch_8"]
    assert fake.books[1].path.endswith("after_id=msgbatch_8")
