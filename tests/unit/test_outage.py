"""The log lines of an outage of the store."""

from __future__ import annotations

import logging

import pytest

from claude_relay.worker.outage import OutageLog
from tests.support.builders import Clock


def test_an_outage_is_one_line_and_its_end_another(caplog: pytest.LogCaptureFixture) -> None:
    """CASES A3: two minutes without the store, met by many operations."""
    caplog.set_level(logging.INFO)
    clock = Clock()
    outage = OutageLog(clock)
    outage.ended()
    for _ in range(2):
        for _ in range(120):
            outage.failed("the server does not answer", loop="alerts")
            clock.advance(1)
        outage.ended()
        outage.ended()

    assert [record.getMessage() for record in caplog.records] == ["store unavailable", "store available again"] * 2
    assert caplog.records[1].__dict__["failures"] == 120
