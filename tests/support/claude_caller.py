"""Calls through the real adapter, made as a worker does, with the port's callbacks recorded."""

from __future__ import annotations

import time

from claude_relay.claude import AnthropicMessages, CallTimeouts
from claude_relay.config import load_prices
from claude_relay.core.jobs.failure import Failure
from claude_relay.core.jobs.job import Job, State
from claude_relay.ports import CallRequest
from tests.support.fake_claude import event, head, started, written

SONNET = "claude-sonnet-5-5"
#: A check every 20 ms, and limits that no call on a busy machine reaches.
QUICK = CallTimeouts(call_timeout=90, first_byte=60, idle=60, connect=10, checkpoint=0, check_interval=0.02)
TEXT = "Hello from the fake."
PING = event("ping")
#: Usage when it breaks off: its three tokens are estimated from its characters.
HALF_USAGE = {"input_tokens": 10, "output_tokens": 3, "estimated_output_tokens": 3}
HALF = (head(), started(), *written("Half an answer")[:2])


def a_prompt(request=None, *, prompt="Hei", model=SONNET, **fields):
    request = {"prompt": prompt, "options": {}} if request is None else request
    times = dict.fromkeys(("created_at", "updated_at", "due_at"), 0.0)
    job = Job(
        id="j1", owner="admin", request_id="r1", body_hash="", state=State.RUNNING, version=2, model=model, **times
    )
    return CallRequest(job=job, request=request, **fields)


class Caller:
    """Makes calls and records the port's callbacks."""

    def __init__(self, url, limits=QUICK, *, api_key="sk-ant-test", **fields):
        self.messages = AnthropicMessages(
            api_key=api_key, prices=load_prices(None), base_url=url, limits=limits, **fields
        )
        self.sent: list[float] = []
        self.followups: list = []
        self.accepted: list[float] = []
        self.progress: list = []
        self.verdict: Failure | None = None
        self.seconds = 0.0

    def __call__(self, prompt=None, /, **fields):
        self.messages.open()  # the import of the client takes seconds
        began = time.monotonic()
        try:
            return self.messages.call(
                prompt or a_prompt(**fields),
                stop=lambda: self.verdict,
                sending=lambda: self.sent.append(time.time()),
                progress=self.progress.append,
                on_followup=self.followups.append,
                accepted=lambda: self.accepted.append(time.time()),
            )
        finally:
            self.seconds = time.monotonic() - began
