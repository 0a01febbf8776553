"""The batch port on the wire: what each answer amounts to, and above all whether a batch may have been made."""

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
    known = {
        "id": "msg_1",
        "model": "claude-sonnet-5-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "output_tokens": 10},
    }
    return {"type": "succeeded", "message": known | message}


def create(api: AnthropicBatches) -> tuple[BatchStatus | Failure, list[str]]:
    told: list[str] = []
    return api.create([PARCEL], sending=lambda: told.append("sending")), told


def test_a_batch_is_made_and_read_as_far_as_it_is_known(api: AnthropicBatches, fake: FakeClaude) -> None:
    fake.then(*body(SEEN))
    made, told = create(api)

    assert isinstance(made, BatchStatus) and (made.id, made.ended, made.count) == ("msgbatch_1", False, 2)
    assert told == ["sending"]
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
def test_whether_a_batch_may_have_been_made(
    api: AnthropicBatches, fake: FakeClaude, steps: tuple[Any, ...], maybe: bool
) -> None:
    """In doubt it is looked for; where it was surely turned away, that would only cost time."""
    fake.then(*steps)
    made, told = create(api)

    assert isinstance(made, Failure)
    assert (made.sent, made.ambiguous, told) == (True, maybe, ["sending"])


def test_what_could_not_be_sent_was_not_made(api: AnthropicBatches, fake: FakeClaude) -> None:
    fake.stop()
    made, told = create(api)

    assert isinstance(made, Failure) and (made.sent, made.ambiguous, told) == (False, False, [])


def test_what_the_store_could_not_take_is_not_sent(api: AnthropicBatches, fake: FakeClaude) -> None:
    def refuse() -> None:
        raise RuntimeError("no")

    made = api.create([PARCEL], sending=refuse)

    assert isinstance(made, Failure) and (made.reason, made.sent) == ("not_recorded", False)
    assert not [seen for seen in fake.books if seen.outcome == "done"]


def test_the_key_goes_where_it_may_and_not_where_the_answer_says(api: AnthropicBatches, fake: FakeClaude) -> None:
    """Results are read under the address of the settings, whatever `results_url` is."""
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
def test_results_that_break_off_keep_what_came_and_say_so(
    api: AnthropicBatches, fake: FakeClaude, steps: tuple[Any, ...]
) -> None:
    fake.then(*steps)
    came = []
    with pytest.raises(ResultsUnavailable):
        for name, _ in api.results("msgbatch_1"):
            came.append(name)

    assert came == (["a"] if len(steps) > 1 else [])


def test_lines_may_come_in_any_pieces(api: AnthropicBatches, fake: FakeClaude) -> None:
    line = json.dumps({"custom_id": "å", "result": succeeded("blåbær")}, ensure_ascii=False).encode() + b"\n"
    pieces = [chunk(line[at : at + 7]) for at in range(0, len(line), 7)]
    fake.then(head(kind="application/x-jsonl"), *pieces, END)
    [(name, result)] = api.results("msgbatch_1")
    done = api.outcome(result, a_prompt())

    assert name == "å" and isinstance(done, Completion) and done.text == "blåbær"


def test_an_answer_costs_half_and_says_what_that_saved(api: AnthropicBatches) -> None:
    done = api.outcome(succeeded(), a_prompt())

    assert isinstance(done, Completion)
    assert done.cost_usd == pytest.approx((100 * 2 + 10 * 10) / 1e6 / 2)
    assert done.saved_usd == pytest.approx(done.cost_usd)


def test_a_schema_is_held_to_as_in_a_live_call(api: AnthropicBatches) -> None:
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
        ({"type": "errored"}, ErrorType.UPSTREAM, Remedy.RETRY, False),
    ],
)  # fmt: skip
def test_what_each_result_amounts_to(
    api: AnthropicBatches, result: dict[str, Any], kind: ErrorType, remedy: Remedy, cost: bool
) -> None:
    end = api.outcome(result, a_prompt())

    assert isinstance(end, Failure)
    assert (end.type, end.remedy, bool(end.cost_usd)) == (kind, remedy, cost)


def test_a_schema_that_may_be_the_fault_is_asked_for_live(api: AnthropicBatches) -> None:
    """There it is asked for in words, once it is known to be refused."""
    invalid = {"type": "errored", "error": {"error": {"type": "invalid_request_error"}}}
    end = api.outcome(invalid, a_prompt(outputSchema={"type": "object", "properties": {"a": {"type": "integer"}}}))

    assert isinstance(end, Failure) and (end.reason, end.remedy) == ("schema_refused", Remedy.RETRY)


def test_what_is_too_large_for_a_batch_is_asked_for_live(api: AnthropicBatches) -> None:
    """There its files are stored first, and named by their ids."""
    end = api.outcome({"type": "errored", "error": {"error": {"type": "request_too_large"}}}, a_prompt())

    assert isinstance(end, Failure) and (end.type, end.reason) == (ErrorType.TOO_LARGE, "item_too_large")
    assert (end.remedy, end.cost_usd) == (Remedy.RETRY, 0.0)


def test_what_many_of_a_batch_share_is_marked_for_the_cache(api: AnthropicBatches, fake: FakeClaude) -> None:
    """The same clerk reads another invoice each time; some have marks of their own, and one another clerk."""
    clerk = "You read invoices with great care. " * 150
    own = {"system": [{"type": "text", "text": clerk, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}
    asked = [a_prompt(systemPrompt=clerk) for _ in range(4)] + [a_prompt(raw=own) for _ in range(4)]
    asked.append(a_prompt(systemPrompt="X" + clerk))
    parcels = [api.prepare(f"a-{number}", one) for number, one in enumerate(asked)]
    assert all(isinstance(parcel, BatchRequest) for parcel in parcels)
    fake.then(*body(SEEN))

    api.create(parcels, sending=lambda: None)  # type: ignore[arg-type]
    *systems, other = [one["params"]["system"] for one in fake.books[0].body["requests"]]

    assert systems[:4] == [[{"type": "text", "text": clerk, "cache_control": {"type": "ephemeral"}}]] * 4
    assert systems[4:] == [own["system"]] * 4
    assert other == "X" + clerk

    fake.then(*body(SEEN))
    api.create(parcels[:3], sending=lambda: None)  # type: ignore[arg-type]
    assert [one["params"]["system"] for one in fake.books[1].body["requests"]] == [clerk] * 3


def test_questions_about_the_same_document_share_it_in_a_batch(api: AnthropicBatches, fake: FakeClaude) -> None:
    file = {"data": base64.b64encode(b"%PDF-1.7 " * 2000).decode(), "mediaType": "application/pdf"}
    asked = [replace(one := a_prompt(), request={**one.request, "prompt": f"{n}?", "files": [file]}) for n in range(4)]
    fake.then(*body(SEEN))

    api.create([api.prepare(f"a-{n}", one) for n, one in enumerate(asked)], sending=lambda: None)  # type: ignore[misc]

    for one in fake.books[0].body["requests"]:
        document, text = one["params"]["messages"][0]["content"]
        assert document["cache_control"] == {"type": "ephemeral"} and "cache_control" not in text


def test_a_schema_that_shows_its_fault_as_it_is_used_ends_its_own_job(api: AnthropicBatches) -> None:
    """And is paid for; an error would keep the results of the whole batch from being read."""
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/nowhere"}}}
    end = api.outcome(succeeded('{"a": 1}'), a_prompt(outputSchema=schema))

    assert isinstance(end, Failure)
    assert (end.type, end.remedy, end.partial) == (ErrorType.INVALID_REQUEST, Remedy.FAIL, '{"a": 1}')
    assert "outputSchema" in end.message
    assert end.cost_usd == pytest.approx((100 * 2 + 10 * 10) / 1e6 / 2)


@pytest.mark.parametrize("usage", [{"input_tokens": "many"}, {"input_tokens": 10, "output_tokens": 1e400}, [], 7])
def test_a_result_of_a_strange_shape_is_a_failure_and_no_error(api: AnthropicBatches, usage: Any) -> None:
    end = api.outcome(succeeded(usage=usage), a_prompt())

    assert isinstance(end, (Completion, Failure))


def test_a_parcel_is_a_call_that_does_not_stream(api: AnthropicBatches) -> None:
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


def test_a_limit_reckons_with_what_output_costs_after_a_long_input(api: AnthropicBatches) -> None:
    """Nothing can be stopped in a batch: what is written after a long input is five times as dear with this model."""
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


def test_the_list_is_read_page_by_page_as_far_back_as_is_asked(api: AnthropicBatches, fake: FakeClaude) -> None:
    first = [{**SEEN, "id": f"msgbatch_{number}"} for number in (9, 8)]
    old = {**SEEN, "id": "msgbatch_7", "created_at": "2026-11-20T09:00:00Z"}
    fake.then(*body({"data": first, "has_more": True}))
    fake.then(*body({"data": [old], "has_more": True}))
    found = api.recent(since=1_795_500_000.0)

    assert not isinstance(found, Failure) and [one.id for one in found] == ["msgbatch_9", "msgbatch_8"]
    assert fake.books[1].path.endswith("after_id=msgbatch_8")
