"""A fake Claude for each test, and callers of it."""

import contextlib
from dataclasses import replace

import pytest

from tests.support.claude_caller import QUICK, Caller
from tests.support.fake_claude import FakeClaude


@pytest.fixture
def fake():
    with FakeClaude() as fake:
        yield fake


@pytest.fixture
def caller_with(fake):
    """Makes callers with some limits of their own."""
    with contextlib.ExitStack() as stack:

        def make(**limits):
            caller = Caller(fake.url, replace(QUICK, **limits))
            stack.callback(caller.messages.close)
            return caller

        yield make


@pytest.fixture
def caller(caller_with):
    return caller_with()
