"""A wall-clock step of two hours under a running relay, through real processes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Seen, Wait, answer, head, refusal, started, stopped, written
from tests.support.faketime import FakeTime
from tests.support.receiver import Answer, Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process


@pytest.mark.parametrize("by", [7200, -7200])
def test_a_clock_that_is_set_ends_no_call_hastens_nothing_and_delays_nothing(tmp_path: Path, by: int) -> None:
    """
    In mid-call, with one job delayed, one backing off and one delivery waiting for its next attempt.

    No lease is lost, no deadline comes early, and all waits last as long as they would have.
    """
    clock, go_on = FakeTime(tmp_path), threading.Event()
    tries: list[float] = []

    def otherwise(seen: Seen) -> list[object]:
        if "backing off" not in str(seen.body):
            return list(answer())
        tries.append(time.monotonic())
        return list(refusal("500 Oops", "api_error")) if len(tries) < 3 else list(answer())

    with FakeClaude(otherwise=otherwise) as upstream, Receiver() as hook:
        upstream.when("long", head(), started(), *written("half"), Wait(go_on), *written(" and half"), *stopped())
        hook.answer("/busy", Answer(status=503), Answer())
        settings = {"RELAY_WEBHOOK_SCHEDULE": "6s,6s", "RELAY_LEASE": "4s"}
        with Rig(tmp_path, upstream=upstream.url, **settings, **clock.env).start() as rig:
            url = hook.url("/hook")
            rig.submit({"prompt": "long", "requestId": "long", "webhookUrl": url, "deadline": "90m"})
            rig.submit({"prompt": "x", "requestId": "busy", "webhookUrl": hook.url("/busy")})
            rig.submit({"prompt": "backing off", "requestId": "backing-off", "webhookUrl": url})
            delayed_at = time.monotonic()
            rig.submit({"prompt": "x", "requestId": "delayed", "webhookUrl": url, "delay": "8s", "deadline": "1h"})
            hook.wait_for(1, path="/busy", timeout=60)
            eventually(lambda: rig.get("/api/jobs/long")["partialResponse"] and tries)
            clock.set(by, rig.api.pid, rig.worker.pid)

            hook.wait_for(2, path="/hook", timeout=60)
            backing_off, delayed = (rig.finished(name) for name in ("backing-off", "delayed"))
            waited = time.monotonic() - delayed_at
            first, again = hook.wait_for(2, path="/busy", timeout=60)
            assert (backing_off["status"], delayed["status"]) == ("completed", "completed")
            assert rig.status("long")["status"] == "processing"
            go_on.set()
            long = rig.finished("long")
            record = rig.get("/api/jobs/long")

    assert waited >= 7.5 and len(tries) == 3
    assert again.at - first.at >= 5.5
    assert (long["status"], len(record["calls"]), record["possibleDuplicateCharge"]) == ("completed", 1, False)
    assert abs(clock.now() - time.time() - by) < 5
    assert "the clock was set" in rig.worker.output() + rig.api.output()
