"""The import of the SDK: without the modules that no request needs, and whole where that fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from claude_relay.claude import sdk

_ROOT = Path(__file__).parents[3]

#: A streamed call, a list, an upload, an error and a batch.
_ALL_REQUESTS = """
import sys, time
from claude_relay.claude import sdk
from claude_relay.claude.client import AnthropicClient, StatusError
from claude_relay.claude.deadlines import CallDeadlines, CallTimeouts
from claude_relay.sandbox import Sandbox

def deadlines():
    nothing = lambda *of: None
    made = CallDeadlines(stop=nothing, sending=nothing, on_followup=nothing, limits=limits, clock=time.monotonic)
    made.begin_request(None)
    return made

limits = CallTimeouts()
message = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hei"}]}
batch = b'{"requests": [{"custom_id": "a", "params": {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": []}}]}'
with Sandbox() as sandbox:
    client = AnthropicClient(api_key="sk-ant-test", base_url=sandbox.url, limits=limits)
    *_, last = client.events({**message, "stream": True}, betas=(), deadlines=deadlines())
    assert last["type"] == "message_stop"
    assert client.get("/v1/models", {})["data"]
    assert client.has_file(client.upload("a.txt", b"text", media_type="text/plain", expires_in_seconds=86_400))
    assert b"".join(client.chunks("POST", "/v1/messages/batches", content=batch, deadlines=deadlines()))
    try:
        client.get("/v1/nothing", {})
    except StatusError as exc:
        assert exc.status == 404
    client.close()
assert "anthropic" in sys.modules
"""


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True, timeout=80
    ).stdout


@pytest.mark.skipif(not sdk.is_tested(), reason="a newer SDK is imported as a whole")
def test_no_request_needs_the_models_of_other_apis():
    """ADR 0010: these modules would be a third of a worker's memory."""
    output = _run(f"{_ALL_REQUESTS}\nprint(*(name for name in sys.modules if name in sdk._UNUSED))")

    assert output.split() == []


def test_a_module_that_was_left_out_can_be_imported_later():
    """Its empty stand-in is forgotten once the SDK is there."""
    output = _run(
        "from claude_relay.claude import sdk; client = sdk.load().Anthropic(api_key='none')\n"
        "from anthropic.lib.streaming import MessageStream; print(hasattr(MessageStream, 'get_final_text'))\n"
        "print(hasattr(client.beta.messages, 'create'), hasattr(client.files, 'upload'))"
    )

    assert output.split() == ["True", "True", "True"]


@pytest.mark.parametrize(
    "change", ["sdk._UNUSED = ('anthropic._exceptions', 'anthropic._utils')", "sdk._TESTED = (2, 0)"]
)
def test_a_version_that_needs_them_or_is_newer_is_imported_as_a_whole(change):
    """An SDK of next week costs memory, and no call."""
    output = _run(
        f"import sys; from claude_relay.claude import sdk; {change}\n"
        "print(sdk.load().Anthropic(api_key='none').messages.create.__name__, 'anthropic.types.beta' in sys.modules)"
    )

    assert output.split() == ["create", "True"]
