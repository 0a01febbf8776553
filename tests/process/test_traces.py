"""Traces of real daemons, received by a local collector; and the trace context without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import Collector
from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def upstream() -> Iterator[FakeClaude]:
    fake = FakeClaude().start()
    yield fake
    fake.stop()


def run_job(rig: Rig, hook: Receiver) -> dict[str, str]:
    """Submit one job under the caller's trace; the headers of its callback."""
    body = {"prompt": "SECRET words", "requestId": "r-1", "webhookUrl": hook.url("/x")}
    answer = rig.http.post(f"{rig.url}/api/claude", json=body, headers={"traceparent": PARENT}, timeout=60)
    assert answer.status_code == 202
    [callback] = eventually(lambda: hook.received, within=60)

    return {name.lower(): value for name, value in callback.headers.items()}


def test_the_trace_context_goes_on_to_the_call_and_the_callback(tmp_path: Path, upstream: FakeClaude) -> None:
    """Without a collector the caller's traceparent is kept with the job and sent as it came."""
    with Receiver() as hook, Rig(tmp_path, upstream=upstream.url).start() as rig:
        callback = run_job(rig, hook)
    [call] = upstream.books
    sent = {name.lower(): value for name, value in call.headers.items()}

    assert sent["traceparent"] == PARENT
    assert callback["traceparent"] == PARENT


def test_a_collector_gets_the_spans_of_a_job(tmp_path: Path, upstream: FakeClaude, collector: Collector) -> None:
    """Accept, wait, call and delivery in the caller's trace, with the names of the SDK and no text of the job."""
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=relay%20one",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with Receiver() as hook, Rig(tmp_path, upstream=upstream.url, **settings).start() as rig:
        callback = run_job(rig, hook)
        eventually(lambda: len(collector.spans) >= 4)
        assert rig.worker.stop() == 0 and rig.api.stop() == 0
    spans = collector.named()
    accept, wait = spans["claude_relay.accept"], spans["claude_relay.wait"]
    call, delivery = spans["anthropic.messages.create"], spans["claude_relay.delivery"]
    [request] = upstream.books
    sent = {name.lower(): value for name, value in request.headers.items()}

    assert len(collector.spans) == 4 and {span["trace"] for span in collector.spans} == {TRACE}
    assert accept["parent"] == CALLER and {each["parent"] for each in (wait, call, delivery)} == {accept["id"]}
    assert (accept["service"], call["service"]) == ("claude-relay-api", "claude-relay-worker")
    assert accept["start"] <= wait["start"] + 50_000_000 and wait["start"] <= wait["end"] <= call["start"] + 50_000_000
    attributes = call["attributes"]
    assert attributes["gen_ai.operation.name"].string_value == "chat"
    assert attributes["gen_ai.provider.name"].string_value == "anthropic"
    assert attributes["gen_ai.usage.output_tokens"].int_value > 0
    assert attributes["anthropic.message.stop_reason"].string_value == "end_turn"
    assert delivery["attributes"]["http.response.status_code"].int_value == 200
    assert sent["traceparent"].split("-")[1:3] == [TRACE, call["id"]]
    assert callback["traceparent"].split("-")[1:3] == [TRACE, delivery["id"]]
    assert not any("SECRET" in span["text"] for span in collector.spans)
    assert collector.headers[0]["x-team"] == "relay one"
