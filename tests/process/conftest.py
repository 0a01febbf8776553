"""The upstream and the receiver of most process tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_claude import FakeClaude
from tests.support.receiver import Receiver


@pytest.fixture
def upstream() -> Iterator[FakeClaude]:
    with FakeClaude() as fake:
        yield fake


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
