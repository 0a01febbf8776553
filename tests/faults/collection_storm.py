"""
The kill storm over collections: real processes, SIGKILL at random, and the books of the upstream and the receiver.

`python -m tests.faults.storm --collections --rows 1000` runs a long one. Three collections are submitted while the API
is killed, and run while workers are killed. Then: one callback each, its counts those of the rows, the books agree.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import requests

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude
from tests.support.receiver import Receiver
from tests.support.rig import KEY, Rig

from .storm import PATIENCE, slowly

NAMES = ("one", "two", "three")


def submit(rig: Rig, hook: Receiver, name: str, rows: int, accepted: set[str]) -> None:
    """Submit a collection until there is a 202, with the same id and body every time."""
    body = {
        "collectionId": name,
        "template": {"prompt": f"{name} {{{{n}}}}"},
        "rows": [{"n": str(number)} for number in range(1, rows + 1)],
        "webhookUrl": hook.url("/hook"),
    }
    give_up = time.monotonic() + 2 * PATIENCE
    while time.monotonic() < give_up and name not in accepted:
        with contextlib.suppress(requests.RequestException):  # the API was killed; it is coming back
            answer = requests.post(f"{rig.url}/api/collections", json=body, headers={"X-API-Key": KEY}, timeout=60)
            if answer.status_code == 202:
                accepted.add(name)
        time.sleep(0.1)


def run(
    folder: Path, *, rows: int, seed: int, kills: int, say: Any = lambda text: None, **settings: str
) -> dict[str, Any]:
    """Run one storm, check the promises, and return the counts."""
    rng, accepted, killed = random.Random(seed), set[str](), Counter[str]()
    settings = {"RELAY_CONCURRENCY": "16", "RELAY_INTERRUPTED_ATTEMPTS": "1", **settings}
    with (
        FakeClaude(otherwise=slowly) as upstream,
        Receiver() as hook,
        Rig(folder, upstream=upstream.url, **settings) as rig,
    ):
        rig.start()
        callers = [
            threading.Thread(target=submit, args=(rig, hook, name, rows, accepted), daemon=True) for name in NAMES
        ]
        for caller in callers:
            caller.start()
        while killed.total() < kills:
            which = rng.choice(("api", "worker", "worker"))
            time.sleep(rng.uniform(0.1, 1.0))
            (rig.api if which == "api" else rig.worker).kill()
            killed[which] += 1
            rig.start_api() if which == "api" else rig.start_worker()
            say(f"killed {which}, {len(upstream.books)} calls")
        for caller in callers:
            caller.join(2 * PATIENCE)
        assert accepted == set(NAMES)
        eventually(lambda: all(_delivered(rig, name) for name in NAMES), within=180 + rows / 4, every=0.5)

        return {**judge(rig, upstream, hook, rows), "kills": dict(killed)}


def on_postgres(database: str, folder: Path) -> dict[str, str]:
    """The settings of a storm with the store of several machines."""
    return {"RELAY_STORE": database, "RELAY_LEASE": "5s", "STATE_DIRECTORY": str(folder / "store")}


def _delivered(rig: Rig, name: str) -> bool:
    return bool(rig.get(f"/api/collections/{name}")["delivery"]["status"] == "delivered")


def judge(rig: Rig, upstream: FakeClaude, hook: Receiver, rows: int) -> dict[str, Any]:
    """Compare the books: callbacks, rows, and calls."""
    posts: dict[str, list[Any]] = defaultdict(list)
    for item in hook.received:
        if len(item.body) == int(item.headers["content-length"]):
            posts[item.json["collectionId"]].append(item)
    asked = Counter(str(seen.body["messages"][-1]["content"]) for seen in upstream.books)
    failed = 0
    for name in NAMES:
        assert len({item.body for item in posts[name]}) == 1, f"{name} was called back with different bytes"
        assert len({item.headers["webhook-id"] for item in posts[name]}) == 1, f"{name} has several callbacks"
        body, status = posts[name][0].json, rig.get(f"/api/collections/{name}")
        results = rig.http.get(f"{rig.url}/api/collections/{name}/results", timeout=60).json()
        ends = Counter(row["status"] for row in results)

        assert [row["row"] for row in results] == list(range(1, rows + 1)), f"{name} has lost or repeated rows"
        assert (body["total"], body["completed"], body["failed"]) == (rows, ends["completed"], ends["failed"])
        assert (status["completed"], status["failed"], status["generation"]) == (ends["completed"], ends["failed"], 1)
        assert {row["errorType"] for row in results if row["status"] == "failed"} <= {"interrupted"}
        failed += ends["failed"]
    unasked = [f"{name} {number}" for name in NAMES for number in range(1, rows + 1)]
    missing = [text for text in unasked if not any(text == key or f"'{text}'" in key for key in asked)]
    assert not missing, f"answered, but the upstream was never asked: {missing[:5]}"

    return {
        "rows": 3 * rows,
        "failed/interrupted": failed,
        "calls": sum(asked.values()),
        "posts": sum(map(len, posts.values())),
    }
