"""
Power cuts: the writes of a job are recorded call by call, and the folder is rebuilt as a cut could have left it.

At every write or sync, the image has all synced data and a random part of the rest, torn at 512 bytes. Then the store
is opened from that image as after a reboot. (The method is that of SQLite's own crash tests,
https://sqlite.org/testing.html#crash_testing; strace records the actual system calls of the process.)
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECTOR = 512

_CHILD = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion, a_submission
store = SqliteStore(Path({store!r}))
if {weak!r}:
    store._writing.pragma("synchronous", {weak!r})
relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0))
def ack(what):
    os.write(1, f"ACK {{what}}".encode())  # one system call, in order with the others
for n in range({jobs}):
    relay.submit(a_submission(f"r-{{n}}", request={{"prompt": "x" * 3000}})); ack(f"submitted r-{{n}}")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed); ack(f"sent r-{{n}}")
    relay.execution.complete(claimed, a_completion("y" * 3000)); ack(f"completed r-{{n}}")
    [one] = relay.deliveries.claim("w", limit=1, at_once=1)
    relay.deliveries.record_attempt(one, Reply(status=200)); ack(f"delivered r-{{n}}")
    if n % 3 == 2:
        store.scrub()
store.close()
"""

_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((\d+|AT_FDCWD)(?:<([^>]*)>)?(?:, (.*))?\) += (-?\d+)")
_UNLINK = re.compile(r'^unlink\("((?:\\x[0-9a-f]{2})*)"\) += 0')
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True)
class Step:
    """One system call: a write, a truncation, a sync; or the child's acknowledgement that something is stored."""

    kind: str  # write, truncate, unlink, sync, ack
    path: str = ""
    offset: int = 0
    data: bytes = b""
    size: int = 0
    word: str = ""


@dataclass
class File:
    """The durable content of a file, and its pending writes."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Step] = field(default_factory=list)

    def sync(self) -> None:
        for step in self.pending:
            apply(self.durable, step)
        self.pending.clear()

    def image(self, rng: random.Random) -> bytes:
        """The content as a cut could leave it: any part of the unsynced sectors, in any order."""
        content = bytearray(self.durable)
        for step in self.pending:
            if step.kind == "truncate":
                if rng.random() < 0.5:
                    apply(content, step)
                continue
            for start in range(0, len(step.data), SECTOR):
                if rng.random() < 0.5:
                    piece = step.data[start : start + SECTOR]
                    apply(content, Step("write", step.path, step.offset + start, piece))
        return bytes(content)


def apply(content: bytearray, step: Step) -> None:
    if step.kind == "truncate":
        del content[step.size :]
        content.extend(bytes(step.size - len(content)))
        return
    end = step.offset + len(step.data)
    content.extend(bytes(max(0, end - len(content))))
    content[step.offset : end] = step.data


def record(strace: str, folder: Path, *, jobs: int, weak: str = "") -> list[Step]:
    """Run the child under strace; returns its steps in order."""
    store = folder / "store" / "relay.db"
    trace = folder / "trace"
    code = _CHILD.format(root=str(ROOT), store=str(store), jobs=jobs, weak=weak)
    calls = "trace=pwrite64,write,ftruncate,fsync,fdatasync,unlink"
    command = [strace, "-f", "-y", "-xx", "-s", "200000", "-e", calls, "-o", str(trace), sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=120, capture_output=True)

    return list(_steps(trace.read_text(), str(store)))


def _steps(trace: str, store: str) -> Iterator[Step]:
    unfinished: dict[str, str] = {}
    positions: dict[str, int] = {}
    for line in trace.splitlines():
        pid, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            unfinished[pid] = rest.removesuffix("<unfinished ...>").rstrip()
            continue
        if rest.startswith("<..."):
            rest = unfinished.pop(pid, "") + rest.partition("resumed>")[2]
        if (unlinked := _UNLINK.match(rest)) is not None:
            if (path := _decode(unlinked[1])).startswith(store):
                yield Step("unlink", path)
            continue
        match = _CALL.match(rest)
        if match is None or int(match[5]) < 0:
            continue
        name, handle, path, args = match[1], match[2], _decode(match[3] or ""), match[4] or ""
        if name == "write" and handle == "1":
            for word in re.findall(r"ACK (\S+ \S+)", _decode(_TEXT.search(args)[1]) if _TEXT.search(args) else ""):
                yield Step("ack", word=word)
        elif path == str(Path(store).parent) and name in ("fsync", "fdatasync"):
            yield Step("sync", path)
        elif not path.startswith(store) or path.endswith("-shm"):
            continue
        elif name in ("write", "pwrite64"):
            quoted = _TEXT.search(args)
            assert quoted is not None
            data = bytes.fromhex(quoted[1].replace("\\x", ""))
            offset = int(args.rpartition(", ")[2]) if name == "pwrite64" else positions.get(path, 0)
            positions[path] = offset + len(data)
            yield Step("write", path, offset, data)
        elif name == "ftruncate":
            yield Step("truncate", path, size=int(args.rpartition(", ")[2] or args))
        else:
            yield Step("sync", path)


def _decode(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode("utf-8", "replace") if text.startswith("\\x") else text


def images(steps: list[Step], *, seed: int, most: int) -> Iterator[tuple[int, dict[str, bytes], set[str]]]:
    """(step, files, acknowledged) at up to `most` moments, spread over all of them, each with its own random part."""
    rng = random.Random(seed)
    moments = set(range(len(steps))) if len(steps) <= most else set(rng.sample(range(len(steps)), most))
    files: dict[str, File] = {}
    unlinked: set[str] = set()  # the folder was not synced since: they may reappear
    acknowledged: set[str] = set()
    for number, step in enumerate(steps):
        if step.kind == "ack":
            acknowledged.add(step.word)
        elif step.kind == "unlink":
            unlinked.add(step.path)
        elif step.kind == "sync" and step.path not in files:
            for path in unlinked:
                files.pop(path, None)
            unlinked.clear()
        elif step.kind == "sync":
            files[step.path].sync()
        else:
            if step.path in unlinked and step.offset == 0:  # created again under the same name
                unlinked.discard(step.path)
                files[step.path] = File()
            files.setdefault(step.path, File()).pending.append(step)
        if number in moments:
            kept = {path: file for path, file in files.items() if path not in unlinked or rng.random() < 0.5}
            yield number, {path: file.image(rng) for path, file in kept.items()}, set(acknowledged)
