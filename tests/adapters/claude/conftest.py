"""A fake Claude for each test, and callers of it."""

import pytest

from tests.support.claude_caller import QUICK, SHORT, Caller
from tests.support.fake_claude import FakeClaude


@pytest.fixture
def fake():
    with FakeClaude() as fake:
        yield fake


@pytest.fixture
def caller(fake):
    yield from _caller(fake, QUICK)


@pytest.fixture
def hasty(fake):
    """One whose patience is a fraction of a second."""
    yield from _caller(fake, SHORT)


def _caller(fake, limits):
    caller = Caller(fake.url, limits)
    yield caller
    caller.messages.close()
