"""
Flipped bits in a store of SQLite and in its log: whatever is read afterwards is what was written, or an error.

`python -m tests.faults.bitflips --flips 5000` proves it for more of them.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_relay.core.damage import KEY
from claude_relay.core.policy import Policy
from claude_relay.errors import RelayError
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion, a_submission

_JOBS = 16
#: The store as a crash leaves it, with its log, and as a clean stop does.
_CRASHED, _STOPPED = "crashed", "stopped"


@dataclass(frozen=True)
class Flipped:
    """One flipped bit, and what became of it: `error`, `same`, or the difference that nothing has reported."""

    file: str
    byte: int
    bit: int
    verdict: str


def make_store(folder: Path, clock: Clock) -> dict[str, Any]:
    """A store with waiting, completed and delivered jobs, half of them still in the log; returns what it holds."""
    store = SqliteStore(folder / "live" / "relay.db", clock=clock)
    relay = Relay(store, QuietNotifier(), Policy(callback_max=2000), rng=random.Random(1))
    for number in range(_JOBS):
        prompt = f"prompt {number} " + "lorem ipsum " * (20 + 60 * (number % 5))
        headers = {"x-make-apikey": f"secret-{number}"} if number % 3 == 0 else {}
        relay.submit(
            a_submission(
                f"job-{number}",
                request={"prompt": prompt, "options": {"model": "claude-sonnet-5-5"}},
                webhook_url=f"https://hook-{number % 4}.example.com/{number}",
                webhook_headers=headers,
                metadata={"row": number},
            )
        )
        if number % 2 == 0:
            [claimed] = relay.execution.claim("w", limit=1)
            relay.execution.complete(claimed, a_completion(f"answer {number} " + "dolor sit " * (30 * (number % 7))))
        if number == _JOBS // 2:
            store.scrub()
        clock.advance(1)
    shutil.copytree(folder / "live", folder / _CRASHED, ignore=shutil.ignore_patterns("*-shm"))
    written = content(relay)
    relay.close()
    shutil.copytree(folder / "live", folder / _STOPPED)

    return written


def content(relay: Relay) -> dict[str, Any]:
    """All that callers and receivers get, by job; an error in its place."""
    found: dict[str, Any] = {}
    for number in range(_JOBS):
        ref = JobRef(request_id=f"job-{number}", owner="admin")
        found[f"job-{number} state"] = _attempt(lambda ref=ref: _state(relay, ref))
        found[f"job-{number} request"] = _attempt(lambda ref=ref: _request(relay, ref))
        found[f"job-{number} answer"] = _attempt(lambda ref=ref: relay.queries.result(ref))
    return found


def callbacks(relay: Relay) -> dict[str, Any]:
    """What would be sent now, by webhook-id."""
    sent = {}
    for _ in range(4):
        for item in relay.deliveries.claim("w", limit=99, at_once=99):
            if item.headers is None:  # not sent: they cannot be read
                continue
            sent[item.delivery.webhook_id] = (item.delivery.url, item.body, tuple((item.headers or {}).items()))
    return sent


def flip_all(folder: Path, *, flips: int, seed: int) -> Sequence[Flipped]:
    """Flip that many bits, one at a time, in the file and the log."""
    clock = Clock()
    written = make_store(folder, clock)
    clock.advance(60)
    sent = _open(folder / _CRASHED, folder / "copy", clock, callbacks)
    rng = random.Random(seed)
    files = [folder / _CRASHED / "relay.db-wal", folder / _STOPPED / "relay.db"]

    results = []
    for number in range(flips):
        file = files[number % 2]
        byte, bit = rng.randrange(file.stat().st_size), rng.randrange(8)
        verdict = _verdict(folder, clock, (file, byte, bit), written, sent)
        results.append(Flipped(f"{file.parent.name} {file.name}", byte, bit, verdict))
    return results


def _verdict(
    folder: Path, clock: Clock, flip: tuple[Path, int, int], written: dict[str, Any], sent: dict[str, Any]
) -> str:
    file, byte, bit = flip

    def change(copy: Path) -> None:
        with (copy / file.name).open("r+b") as target:
            target.seek(byte)
            value = target.read(1)[0] ^ 1 << bit
            target.seek(byte)
            target.write(bytes([value]))

    def look(relay: Relay) -> str:
        reported = relay.queries.shared_value(KEY) is not None
        found, now = content(relay), callbacks(relay)
        errors = [key for key, value in found.items() if isinstance(value, RelayError) and value.status != 404]
        expected = {**written, **sent}
        others = {key: value for key, value in found.items() if key not in errors} | now
        # Callbacks that are missing were given up, or wait for the damage to be looked at: nothing wrong was sent.
        differs = [key for key, value in others.items() if repr(value) != repr(expected.get(key))]
        reported = reported or bool(errors) or relay.queries.shared_value(KEY) is not None or len(now) < len(sent)
        if not differs:
            return "error" if reported else "same"
        found_deep = relay.queries.check(deep=True) or next(relay.queries.damaged(), None)

        return f"{'error' if reported else 'deep' if found_deep else 'silent'}: {differs[0]}"

    try:
        return _open(file.parent, folder / "copy", clock, look, change)
    except RelayError as exc:
        return f"error: {exc}"
    except Exception as exc:
        steps = [step.name for step in traceback.extract_tb(exc.__traceback__)]
        return f"raised: {exc!r} in {' > '.join(steps[-10:])}"


def _open(
    origin: Path,
    copy: Path,
    clock: Clock,
    look: Callable[[Relay], Any],
    change: Callable[[Path], None] = lambda copy: None,
) -> Any:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(origin, copy)
    change(copy)
    store = SqliteStore(copy / "relay.db", clock=clock)
    try:
        return look(Relay(store, QuietNotifier(), Policy(callback_max=2000), rng=random.Random(1)))
    finally:
        store.close()


def _state(relay: Relay, ref: JobRef) -> Any:
    return dict(relay.queries.status(ref))


def _request(relay: Relay, ref: JobRef) -> Any:
    record = relay.queries.job_details(ref)
    return {name: record[name] for name in ("request", "webhookUrl", "failureWebhookUrl", "owner")}


def _attempt(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RelayError as exc:
        return exc


def main() -> int:
    """Print a table; exit 1 for a silent difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        results = flip_all(Path(folder), flips=args.flips, seed=args.seed)
    for (file, verdict), count in sorted(Counter((one.file, one.verdict.partition(":")[0]) for one in results).items()):
        print(f"{file:20} {verdict:8} {count:6}")
    bad = [one for one in results if one.verdict.startswith(("silent", "raised", "deep"))]
    for one in bad[:50]:
        print(one)

    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
