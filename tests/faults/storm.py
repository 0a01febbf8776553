"""
The kill storm: real processes and sockets, SIGKILL at random, and the books of the upstream and the receiver.

`python -m tests.faults.storm --seconds 300 --seed 7` runs it longer; the seed replays the same order of kills and
pauses. Checked against the books alone: the 202s of the callers, the requests of the upstream, the messages of the
receiver, and the ledger.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Pause, Seen, head, started, stopped, written
from tests.support.postgres import Cluster
from tests.support.receiver import Receiver
from tests.support.rig import KEY, Rig

CALLERS = 3
#: Seconds for which a caller retries until its 202: longer than any restart, also beyond the end of the storm.
PATIENCE = 60.0


@dataclass
class Books:
    """The requests of the callers and their 202s."""

    accepted: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    kills: Counter[str] = field(default_factory=Counter)


def slowly(seen: Seen) -> tuple[Any, ...]:
    """An answer that takes a moment, so that kills hit it in the middle."""
    return (head(), started(), *written("half "), Pause(0.15), *written("and whole", 0), *stopped())


def call(rig: Rig, hook: Receiver, name: str, books: Books) -> None:
    """Submit until there is a 202, with the same requestId and body every time."""
    body = {"prompt": f"job {name}", "requestId": name, "webhookUrl": hook.url("/hook")}
    books.asked.add(name)
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            answer = requests.post(f"{rig.url}/api/claude", json=body, headers={"X-API-Key": KEY}, timeout=60)
        except requests.RequestException:
            time.sleep(0.05)  # the API was killed; it is coming back
            continue
        if answer.status_code == 202:
            books.accepted.add(name)
            return
        time.sleep(0.05)


def run(
    folder: Path, *, seconds: float, seed: int, kills: int = 0, say: Any = lambda text: None, **settings: str
) -> dict[str, Any]:
    """Run one storm of at least that many seconds and kills, check the promises, and return the counts."""
    rng, books, stop = random.Random(seed), Books(), threading.Event()
    with (
        FakeClaude(otherwise=slowly) as upstream,
        Receiver() as hook,
        Rig(folder, upstream=upstream.url, **settings) as rig,
    ):
        rig.start()
        numbers = iter(range(1_000_000))
        lock = threading.Lock()

        def caller() -> None:
            while not stop.is_set():
                with lock:
                    name = f"r-{next(numbers)}"
                call(rig, hook, name, books)
                time.sleep(0.15)

        callers = [threading.Thread(target=caller, daemon=True) for _ in range(CALLERS)]
        for thread in callers:
            thread.start()
        began, calls_before = time.monotonic(), 0
        while time.monotonic() - began < seconds or books.kills.total() < kills:
            which = rng.choice(("api", "worker", "worker"))
            if which == "worker" and rng.random() < 0.75:
                # On a busy machine it would be killed each time before its first call: wait for one.
                with contextlib.suppress(AssertionError):
                    eventually(lambda earlier=calls_before: len(upstream.books) > earlier, within=15)
            time.sleep(rng.uniform(0.3, 1.5))
            if which == "worker":  # in the middle of a call where there is one
                with contextlib.suppress(AssertionError):
                    eventually(lambda: any(seen.outcome == "open" for seen in upstream.books[-99:]), within=5)
            (rig.api if which == "api" else rig.worker).kill()
            books.kills[which] += 1
            # The port stays the same; a worker is back when it holds its lock.
            calls_before = len(upstream.books) if which == "worker" else calls_before
            rig.start_api() if which == "api" else rig.start_worker()
            say(f"{time.monotonic() - began:6.1f} s  killed {which}, {len(books.accepted)} accepted")
        stop.set()
        for thread in callers:
            thread.join(PATIENCE + 15)

        eventually(lambda: _all_delivered(rig, books), within=120, every=0.5)
        return judge(rig, upstream, hook, books)


def _all_delivered(rig: Rig, books: Books) -> bool:
    overview = rig.get("/api/overview")
    jobs, deliveries = overview["jobs"], overview["deliveries"]

    return jobs["queued"] + jobs["running"] + deliveries["pending"] + deliveries["sending"] == 0 and sum(
        jobs.values()
    ) >= len(books.accepted)


def judge(rig: Rig, upstream: FakeClaude, hook: Receiver, books: Books) -> dict[str, Any]:
    """Compare all books with each other."""
    delivered: dict[str, list[Any]] = defaultdict(list)
    for item in hook.received:
        if len(item.body) < int(item.headers["content-length"]):
            continue  # its sender was killed in the middle of it: no receiver accepts an incomplete message
        delivered[item.json["requestId"]].append(item)
    asked = Counter(seen.body["messages"][0]["content"] if isinstance(seen.body["messages"][0]["content"], str)
                    else seen.body["messages"][0]["content"][-1]["text"] for seen in upstream.books)  # fmt: skip
    admitted, interrupted = Counter[str](), 0
    for name in books.accepted:
        record = rig.get(f"/api/jobs/{name}")
        admitted[name] = sum(call["sent"] for call in record["calls"])
        interrupted += sum(call["outcome"] == "interrupted" and call["sent"] for call in record["calls"])

        posts = delivered[name]
        assert posts, f"{name} had its 202 and was never delivered"
        assert len({item.body for item in posts}) == 1, f"{name} was delivered with different bytes"
        assert len({item.headers["webhook-id"] for item in posts}) == 1, f"{name} went out under several webhook-ids"
        assert rig.http.get(f"{rig.url}/api/result/{name}").content == posts[0].body
        assert asked[f"job {name}"] <= admitted[name], f"{name} was asked more often than the ledger admits"
        if posts[0].json["status"] == "completed" and asked[f"job {name}"] > 1:
            assert posts[0].json.get("possibleDuplicateCharge"), f"{name} was asked twice and does not say so"

    assert books.asked == books.accepted, f"never got a 202: {books.asked - books.accepted}"
    unknown = set(delivered) - books.accepted
    assert not unknown, f"delivered without a 202: {unknown}"
    unpaid = {f"job {name}" for name in books.accepted} - set(asked)
    assert not unpaid, f"answered, but the upstream was never asked: {unpaid}"
    extra = sum(asked.values()) - len(asked)
    assert extra <= interrupted, "more calls were repeated than the ledger has interruptions"

    failed = {name: posts[0].json for name, posts in delivered.items() if posts[0].json["status"] != "completed"}
    other = {name: body for name, body in failed.items() if body["errorType"] != "interrupted"}
    assert not other, f"failed, and not because its worker was killed too often: {sorted(other)}"
    assert interrupted or books.kills["worker"] < 5, "no kill met a call: such a storm proves nothing"
    paid = len(books.accepted) - len(failed) + interrupted
    assert admitted.total() == paid, f"the ledger admits {admitted.total()} calls, not {paid}"

    return {
        "accepted": len(books.accepted),
        "failed/interrupted": len(failed),
        "upstream calls": sum(asked.values()),
        "calls the ledger admits": sum(admitted.values()),
        "interruptions": interrupted,
        "deliveries": sum(map(len, delivered.values())),
        "kills": dict(books.kills),
    }


def tell(text: str) -> None:
    """Print progress."""
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--batch", action="store_true", help="a thousand batched jobs instead")
    parser.add_argument("--collections", action="store_true", help="three collections instead")
    parser.add_argument("--rows", type=int, default=1000, help="of each, with --collections")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own, not with --batch")
    parser.add_argument("--kills", type=int, default=10, help="how many, with --collections")
    parser.add_argument("--jobs", type=int, default=1000, help="how many, with --batch")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}, {wanted.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if wanted.batch:
            from tests.faults import batch_storm

            print(batch_storm.run(Path(folder), jobs=wanted.jobs, seed=wanted.seed, seconds=wanted.seconds, say=tell))
            return 0
        from tests.faults import collection_storm

        with Cluster().start() if wanted.postgres else contextlib.nullcontext() as server:
            store = {} if server is None else collection_storm.on_postgres(server.database(), Path(folder))
            if wanted.collections:
                size = {"rows": wanted.rows, "kills": wanted.kills}
                print(collection_storm.run(Path(folder), seed=wanted.seed, say=tell, **size, **store))
            else:
                print(run(Path(folder), seconds=wanted.seconds, seed=wanted.seed, say=tell, **store))

    return 0


if __name__ == "__main__":
    sys.exit(main())
