"""The adapter against the sandbox: both must agree on the protocol."""

import json
from pathlib import Path

import pytest

from claude_relay.claude import CallTimeouts
from claude_relay.core.jobs.failure import Completion
from claude_relay.sandbox import Sandbox
from tests.support.claude_caller import Caller, a_prompt

FAKTURA = Path(__file__).parents[3] / "examples" / "faktura"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def caller(sandbox):
    caller = Caller(sandbox.url)
    yield caller
    caller.messages.close()


def test_a_text_answer_is_returned(caller):
    done = caller(prompt="Hei på deg")

    assert isinstance(done, Completion)
    assert "sandbox" in done.text
    assert done.cost_usd
    assert caller.progress[-1].text == done.text


def test_the_example_invoice_gives_its_133_fields(caller):
    request = json.loads((FAKTURA / "request.json").read_text(encoding="utf-8"))

    done = caller(a_prompt(request))

    assert isinstance(done, Completion), done
    assert done.warnings == ()
    assert set(done.json) == set(request["options"]["outputSchema"]["properties"])


def test_a_paused_call_is_continued(caller):
    done = caller(prompt="[sandbox: pause-turn] [sandbox: say one two three four]")

    assert done.text.startswith("one two three four")
    assert done.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("orders", "reason", "remedy", "ambiguous"),
    [
        ("overloaded", "http_529", "wait", False),
        ("rate-limit 3s", "http_429", "wait", False),
        ("spend-limit", "enforced_spend_limit_reached", "park", False),
        ("credit-low", "credit_balance", "park", False),
        ("usage-limit", "usage_limit", "park", False),
        ("on-hold", "organization_on_hold", "park", False),
        ("no-review", "workspace_human_review_disabled", "fail", False),
        ("error 500", "http_500", "soon", False),
        ("error 403", "http_403", "fail", False),
        ("stream-error early", "stream_overloaded_error", "wait", False),
        ("stream-error", "stream_overloaded_error", "soon", True),
        ("break", "stream_cut", "soon", True),
        ("end-early", "stream_cut", "soon", True),
        ("refuse", "refusal", "fail", False),
    ],
)
def test_the_faults_of_the_sandbox_are_classified(caller, orders, reason, remedy, ambiguous):
    failure = caller(prompt=f"{reason} [sandbox: {orders}] [sandbox: long 200]")

    assert (failure.reason, failure.remedy.value, failure.ambiguous) == (reason, remedy, ambiguous)


def test_a_stall_of_the_sandbox_is_an_idle_timeout(sandbox):
    caller = Caller(sandbox.url, CallTimeouts(idle=0.5, check_interval=0.02))

    failure = caller(prompt="[sandbox: stall] [sandbox: long 200]")
    caller.messages.close()

    assert (failure.reason, failure.remedy.value, failure.ambiguous) == ("idle_timeout", "soon", True)
