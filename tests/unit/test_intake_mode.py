"""The mode of a request, and the warning if it differs from the requested one."""

from __future__ import annotations

from claude_relay.core.intake.mode import MODES
from tests.support.intake import accepted, an_intake_context
from tests.unit.test_model_catalog import fetched


def told_of(batch: bool):
    model = {"id": "claude-sonnet-5-5", "line": "sonnet", "capabilities": {"batch": {"supported": batch}}}
    return an_intake_context(model_catalog=lambda: fetched([model]))


def test_every_mode_is_accepted():
    assert [accepted({"mode": mode, "needBy": "2h"}, context=told_of(True)).mode for mode in MODES] == list(MODES)


def test_a_model_without_batches_is_called_live_with_a_warning():
    submission = accepted({"mode": "batch"}, context=told_of(False))

    assert submission.mode == "live"
    assert "is not available in batches" in submission.warnings[0]


def test_speed_is_not_sent_in_a_batch_with_a_warning():
    [warning] = accepted({"mode": "batch", "options": {"raw": {"speed": "fast"}}}, context=told_of(True)).warnings

    assert "options.raw.speed is not sent in a batch" in warning
