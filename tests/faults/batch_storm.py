"""
The kill storm over batches: two workers, SIGKILL at random, an upstream that creates batches without an answer.

Checked against the upstream's own books: each custom_id is paid once, each batched job once, to the cent as in the
ledger; a job with a needBy ends by then.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import requests

from tests.support.eventually import eventually
from tests.support.fake_batches import Shelf, live
from tests.support.fake_claude import FakeClaude, Reset, refusal
from tests.support.receiver import Receiver
from tests.support.rig import KEY, Rig

SETTINGS = {
    "RELAY_BATCH_SIZE": "10",
    "RELAY_BATCH_LINGER": "1s",
    "RELAY_BATCH_POLL": "1s",
    "RELAY_BATCH_SETTLE": "1s",
    "RELAY_BATCH_MARGIN": "20s",
}
#: Seconds from submit to needBy of a job of mode auto. A batch may keep it until 25 s before; the rest is for the live
#: call of a worker that may have to be started first, twice, on a busy machine.
NEEDED_WITHIN = (46.0, 60.0)
#: Seconds until the end of a batch that is too slow and cannot be cancelled, as its creation was not answered.
SLOW = 42.0


@dataclass
class Storm:
    """The submitted jobs and their needBy."""

    need_by: dict[str, float] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)


def faults(rng: random.Random, count: int) -> list[Any]:
    """The fate of each creation: most are answered, some created but not answered, some not created."""
    lost: tuple[Any, ...] = (Reset(),)
    broken = refusal("500 Internal Server Error", "api_error")
    return [rng.choices((None, "reset", lost, broken), (70, 15, 10, 5))[0] for _ in range(count)]


def body(name: str, number: int, hook: Receiver, rng: random.Random, storm: Storm) -> dict[str, Any]:
    """One in five has a needBy, some of those in a batch that would not end in time."""
    asked: dict[str, Any] = {"requestId": name, "webhookUrl": hook.url("/hook"), "mode": "batch"}
    word = {3: "errored ", 7: "expired "}.get(number % 20, "")
    if number % 5 == 0:
        within = rng.uniform(*NEEDED_WITHIN)
        storm.need_by[name] = time.time() + within
        asked |= {"mode": "auto", "needBy": f"{within:.0f}s"}
        word = "slow-batch " if number % 100 >= 50 else word

    return asked | {"prompt": f"{word}job {name}."}


def submit(rig: Rig, bodies: list[dict[str, Any]]) -> None:
    """Submit until each has its 202, with the same requestIds every time."""

    def taken() -> bool:
        try:
            answer = requests.post(f"{rig.url}/api/claude/bulk", json=bodies, headers={"X-API-Key": KEY}, timeout=60)
        except requests.RequestException:
            return False
        return answer.ok and all(item["statusCode"] == 202 for item in answer.json())

    eventually(taken, within=60, every=0.1)


def run(
    folder: Path, *, jobs: int, seed: int, seconds: float = 20.0, kills: int = 0, say: Any = lambda text: None
) -> dict[str, Any]:
    """Run one storm of at least that many seconds and kills, check the promises, and return the counts."""
    rng, storm = random.Random(seed), Storm()
    upload_cache = Shelf(span=lambda: rng.uniform(0.2, 4.0), slow_span=SLOW, seed=seed, creations=faults(rng, jobs))
    with (
        FakeClaude(otherwise=live(upload_cache)) as upstream,
        Receiver() as hook,
        Rig(folder, upstream=upstream.url, **SETTINGS) as rig,
    ):
        upload_cache.on(upstream)
        rig.start_api()
        workers = [rig.start_worker(), rig.start_worker()]
        began = time.monotonic()
        for start in range(0, jobs, 50):
            numbers = range(start, min(start + 50, jobs))
            storm.names += [f"b-{number}" for number in numbers]
            submit(rig, [body(f"b-{number}", number, hook, rng, storm) for number in numbers])
        while time.monotonic() - began < seconds or storm.kills.total() < kills:
            time.sleep(rng.uniform(1.0, 5.0))
            victim = rng.randrange(3)
            if victim == 2:
                rig.api.kill()
                storm.kills["api"] += 1
                rig.start_api()
            else:
                workers[victim].kill()
                storm.kills["worker"] += 1
                workers[victim] = rig.start_worker(wait=False)
            say(f"{time.monotonic() - began:6.1f} s  {dict(storm.kills)}, {len(upload_cache.answered)} answered")
        eventually(lambda: _settled(rig, storm), within=120 + jobs / 5, every=0.5)
        say(f"{time.monotonic() - began:6.1f} s  settled")
        return judge(rig, upload_cache, hook, storm)


def _settled(rig: Rig, storm: Storm) -> bool:
    overview = rig.get("/api/overview")
    jobs, deliveries = overview["jobs"], overview["deliveries"]
    open_ = sum(jobs[state] for state in ("queued", "running", "batched"))

    return open_ + deliveries["pending"] + deliveries["sending"] == 0 and sum(overview["batches"].values()) == 0


def judge(rig: Rig, upload_cache: Shelf, hook: Receiver, storm: Storm) -> dict[str, Any]:
    """Compare all books with each other."""
    delivered: dict[str, list[Any]] = defaultdict(list)
    for item in hook.received:
        if len(item.body) >= int(item.headers["content-length"]):
            delivered[item.json["requestId"]].append(item)
    paid_in_batches: dict[str, list[Fraction]] = defaultdict(list)
    for batch in upload_cache.batches.values():
        for custom_id, params in batch.requests.items():
            if custom_id in upload_cache.paid:
                paid_in_batches[_name(params["messages"])].append(upload_cache.paid[custom_id])
    paid_live = Counter(_name(json.loads(messages)) for messages, _ in upload_cache.live)
    twice = [custom_id for custom_id, times in upload_cache.answered.items() if times != 1]
    assert not twice, f"paid more than once: {twice}"

    ended, costs, books, doubles = Counter[str](), 0.0, Fraction(0), 0
    for name in storm.names:
        record, posts = rig.get(f"/api/jobs/{name}"), delivered[name]
        assert posts, f"{name} had its 202 and was never delivered"
        assert len({item.body for item in posts}) == 1, f"{name} was delivered with different bytes"
        assert len({item.headers["webhook-id"] for item in posts}) == 1, f"{name} went out under several webhook-ids"
        callback = posts[0].json
        assert callback["status"] == "completed", f"{name} has failed: {callback}"
        ended[callback["mode"]] += 1
        batch_calls = [call for call in record["calls"] if call["mode"] == "batch"]
        in_ledger, in_books = sum(call["costUsd"] or 0.0 for call in batch_calls), sum(paid_in_batches[name])
        assert abs(in_ledger - float(in_books)) < 1e-9, f"{name}: the ledger has {in_ledger}, the upstream {in_books}"
        costs, books = costs + in_ledger, books + in_books
        if name in storm.need_by:
            assert callback["timestamp"] <= _iso(storm.need_by[name]), f"{name} was needed earlier"
            if len(paid_in_batches[name]) + paid_live[name] > 1:
                doubles += 1
                assert callback.get("possibleDuplicateCharge"), f"{name} was paid twice and does not say so"
        else:
            assert callback["mode"] == "batch", f"{name} was called live"
            assert (len(paid_in_batches[name]), paid_live[name]) == (1, 0), f"{name} was not paid exactly once"
            assert "possibleDuplicateCharge" not in callback

    return {
        "jobs": len(storm.names),
        "batches": len(upload_cache.batches),
        "ended in": dict(ended),
        "custom_ids paid": len(upload_cache.paid),
        "paid in batches": float(books),
        "ledger of batches": costs,
        "needed by a time": len(storm.need_by),
        "of those paid twice and said so": doubles,
        "kills": dict(storm.kills),
    }


def _name(messages: Any) -> str:
    return str(messages[-1]["content"]).rpartition("job ")[2].rstrip(".")


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"
