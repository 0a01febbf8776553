"""One call over a real socket through the real client, against an upstream that does all that can be done wrong."""

from __future__ import annotations

import pytest

from claude_relay.claude import Limits, Messages
from claude_relay.core.failure import Completion
from claude_relay.core.job import Job, State
from claude_relay.ports import Prompt
from tests.support.fake_claude import FakeClaude


def a_prompt(request=None, **fields):
    request = {"prompt": "Hei", "options": {}} if request is None else request
    job = Job(
        id="j1",
        owner="admin",
        request_id="r1",
        body_hash="",
        state=State.RUNNING,
        version=2,
        created_at=0.0,
        updated_at=0.0,
        due_at=0.0,
        model="claude-sonnet-5-5",
    )
    return Prompt(job=job, request=request, **fields)


@pytest.fixture
def fake():
    with FakeClaude() as fake:
        yield fake


def test_happy(fake):
    m = Messages(api_key="k", base_url=fake.url, limits=Limits(look=0.02))
    sent, told = [], []
    done = m.call(a_prompt(), stop=lambda: None, sending=lambda: sent.append(1), progress=told.append)
    m.close()
    assert isinstance(done, Completion)
    assert sent == [1]
