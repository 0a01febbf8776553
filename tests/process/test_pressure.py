"""Limits, spend caps and alerts through a real worker, judged from the upstream's books."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Pause, Seen, head, refusal, started, stopped, written
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process


class Metered:
    """An upstream that lets `limit` requests a minute in, as a bucket, and says so in its headers."""

    def __init__(self, limit: int) -> None:
        self.limit, self.left, self.at = limit, float(limit), time.time()
        self.served = self.refused = 0
        self._lock = threading.Lock()

    def __call__(self, seen: Seen):
        with self._lock:
            now = time.time()
            self.left = min(self.limit, self.left + (now - self.at) * self.limit / 60)
            self.at = now
            if self.left < 1:
                self.refused += 1
                return refusal("429 Too Many Requests", "rate_limit_error", None, ("retry-after", "1"))
            self.left -= 1
            self.served += 1
            whole = now + (self.limit - self.left) * 60 / self.limit
        reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(whole))
        limits = [("limit", str(self.limit)), ("remaining", str(int(self.left))), ("reset", reset)]
        headers = [(f"anthropic-ratelimit-requests-{name}", value) for name, value in limits]
        return (head(headers=headers), started(), *written("ok"), *stopped())


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_the_relay_uses_its_rate_limit_without_refusals(tmp_path: Path) -> None:
    """Of 600 a minute, until the bucket is long empty: more than nine tenths used, less than a hundredth refused."""
    meter = Metered(600)
    with FakeClaude(otherwise=meter) as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:
        bodies = [{"prompt": f"number {number}"} for number in range(900)]
        assert rig.post("/api/claude/bulk", bodies).status_code == 207
        began = time.monotonic()
        eventually(lambda: meter.served >= 890, within=110)
        spent = time.monotonic() - began
        possible = 600 + spent * 10  # a full bucket, and what came back meanwhile

        assert meter.served >= 0.9 * min(possible, 900)
        assert meter.refused <= 0.01 * meter.served


def test_a_full_group_is_worked_off_in_its_order_as_fast_as_its_calls_end(tmp_path: Path) -> None:
    """A job submitted while others wait for the one slot runs after them; and the slot is never left empty."""

    def slowly(seen: Seen):
        return (head(), started(), *written("half "), Pause(0.1), *stopped())

    with FakeClaude(otherwise=slowly) as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:
        assert rig.post("/api/groups/g", {"concurrency": 1}).status_code == 200
        early = [{"prompt": f"early {number}", "group": "g"} for number in range(15)]
        assert rig.post("/api/claude/bulk", early).status_code == 207
        eventually(lambda: upstream.books)
        for number in range(5):
            rig.submit({"prompt": f"late {number}", "group": "g"})
        eventually(lambda: len(upstream.books) == 20, within=100)

        asked = [re.findall(r"(?:early|late) [0-9]+", str(seen.body))[0] for seen in upstream.books]
        assert asked == [*(f"early {number}" for number in range(15)), *(f"late {number}" for number in range(5))]
        # With one in each sweep, every slot would be empty for most of a second. On a busy machine a few are.
        empty = [after.began_at - (before.ended_at or 0.0) for before, after in pairwise(upstream.books)]
        assert sorted(empty)[len(empty) // 4] < 0.5, empty


def test_a_group_gets_what_its_rate_allows_and_no_more(tmp_path: Path) -> None:
    """Six hundred a minute are one each tenth of a second, however rare the sweeps are."""
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:
        assert rig.post("/api/groups/g", {"rate": 600}).status_code == 200
        bodies = [{"prompt": f"number {number}", "group": "g"} for number in range(40)]
        assert rig.post("/api/claude/bulk", bodies).status_code == 207
        eventually(lambda: len(upstream.books) == 40, within=60)

        times = [seen.began_at for seen in upstream.books]
        pauses = [after - before for before, after in pairwise(times)]
        assert times[-1] - times[0] > 2.5, "39 intervals, of which a first call that started late takes some away"
        assert sorted(pauses)[len(pauses) // 4] < 0.5, pauses  # with one in each sweep a second each


@pytest.mark.parametrize(
    "refused",
    [
        ("401 Unauthorized", "authentication_error", None),
        ("429 Too Many Requests", "rate_limit_error", "enforced_spend_limit_reached"),
        ("400 Bad Request", "invalid_request_error", None),
        ("400 Bad Request", "invalid_request_error", "organization_on_hold"),
    ],
)
def test_a_spend_cap_parks_the_queue_with_one_alert_and_goes_on_by_itself(
    tmp_path: Path, hook: Receiver, refused: tuple[str, str, str | None]
) -> None:
    """CASES F1: jobs stay queued; one probe detects that calls work again. Two of these limits come as a 400."""
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url, RELAY_ALERT_URL=hook.url("/alert")) as rig:
        upstream.then(*refusal(*refused, text="You have reached your specified API usage limits."))
        rig.start()
        rig.submit({"prompt": "first", "requestId": "r-1", "webhookUrl": hook.url("/x")})
        [alert] = hook.wait_for(1, path="/alert", timeout=60)
        for number in range(5):
            rig.submit({"prompt": "more", "requestId": f"m-{number}"})
        status = rig.status("r-1")

        assert json.loads(alert.body)["alert"] == "queue_parked"
        assert (status["status"], status["attempts"]) == ("pending", 0)
        assert "until" in status["waitingFor"]
        assert len(upstream.books) == 1
        assert rig.http.get(f"{rig.url}/health/ready").status_code == 503

        rig.post("/api/resume")  # as the slow schedule would, later
        assert [rig.finished(f"m-{number}")["status"] for number in range(5)] == ["completed"] * 5
        assert rig.finished("r-1")["status"] == "completed"
        _, ended = hook.wait_for(2, path="/alert", timeout=60)
        assert (ended.json["status"], ended.json["alert"]) == ("resolved", "queue_parked")
        assert [item.path for item in hook.received].count("/alert") == 2


def test_an_overload_before_any_text_counts_no_attempt(tmp_path: Path, hook: Receiver) -> None:
    """529 and an overload event inside a 200 wait; the job still has its three attempts."""
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url).start() as rig:
        for _ in range(2):
            upstream.then(*refusal("529 Overloaded", "overloaded_error", None, ("retry-after", "1")))
        rig.submit({"prompt": "x", "requestId": "r-1"})
        status = rig.finished("r-1")

        assert (status["status"], status["attempts"]) == ("completed", 1)
        ledger = rig.get("/api/jobs/r-1")["calls"]
        assert [call["outcome"] for call in ledger] == ["overloaded", "overloaded", "completed"]
        assert len(upstream.books) == 3


def test_a_real_failure_counts_and_the_third_is_the_last(tmp_path: Path, hook: Receiver) -> None:
    with FakeClaude() as upstream, Rig(tmp_path, upstream=upstream.url, RELAY_BACKOFF_MAX="1s").start() as rig:
        upstream.when("always", *refusal("500 Oops", "api_error"))
        rig.submit({"prompt": "always", "requestId": "r-1", "webhookUrl": hook.url("/x")})
        [delivered] = hook.wait_for(1, timeout=60)

        assert (delivered.json["status"], delivered.json["errorType"]) == ("failed", "upstream")
        assert delivered.json["attempts"] == 3 == len(upstream.books)
        assert "possibleDuplicateCharge" not in delivered.json
