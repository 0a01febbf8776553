"""
What calls cost while they are silent, and the memory of a long answer: a worker process, its upstream with TLS.

A long answer is stored, put into its callback and sent; its peak counts from the worker's memory before the call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme

from . import upstream
from .dispatch import _until
from .rows import Row
from .servers import cpu_seconds
from .worker import Rig, rss

_LONG = 32 * 2**20


def run(
    folder: Path, *, calls: int = 1000, seconds: float = 20.0, length: int = _LONG, **_: int
) -> Iterator[dict[str, Any] | Row]:
    """The rows; each figure is taken once."""
    authority = trustme.CA()
    trusted, cert = folder / "trusted.pem", folder / "cert.pem"
    authority.cert_pem.write_to_path(str(trusted))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(cert))
    yield from _silent(folder, trusted, cert, calls, seconds)
    yield from _long(folder, length)


def _silent(folder: Path, trusted: Path, cert: Path, calls: int, seconds: float) -> Iterator[dict[str, Any] | Row]:
    with upstream.running("--cert", str(cert), "--silence", "300", "--events", "1") as url:
        rig = Rig(folder / "silent", url, RELAY_CONCURRENCY=str(calls), SSL_CERT_FILE=str(trusted), RELAY_DRAIN="0s")
        with rig.relay() as relay, rig.worker() as pid:
            _until(lambda: _has_sdk(pid))
            time.sleep(3)
            base = rss(pid)
            rig.submit(relay, calls)
            _until(lambda: _connections(pid) >= calls, within=120.0, every=0.5)
            time.sleep(3)
            grown = rss(pid) - base
            began, at = cpu_seconds(pid), time.monotonic()
            time.sleep(seconds)
            share = (cpu_seconds(pid) - began) / (time.monotonic() - at) * 100
    yield {"calls": calls, "grown_bytes": grown, "percent": round(share, 2)}
    yield Row(name=f"{calls:,} silent calls over TLS: CPU", value=share, unit="% of a core", target="<= 5")
    yield Row(name=f"{calls:,} silent calls over TLS: memory", value=grown / calls / 1024, unit="KiB", target="<= 130")


def _has_sdk(pid: int) -> bool:
    """Whether a worker has begun to import the SDK, by a library that it alone needs."""
    return "pydantic_core" in Path(f"/proc/{pid}/maps").read_text()


def _connections(pid: int) -> int:
    """Sockets that a process has open."""
    count = 0
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += handle.readlink().name.startswith("socket:")
        except OSError:
            continue

    return count


def _long(folder: Path, length: int) -> Iterator[dict[str, Any] | Row]:
    for kind, text, target in (("ASCII", "word ", "<= 3.5"), ("text with emoji", "a text of some words 🙂 ", "<= 7")):
        piece = text * (65_536 // len(text))
        events = length // len(piece.encode())
        size = events * len(piece.encode())
        with upstream.running("--events", str(events), "--size", str(len(piece)), "--text", text) as url:
            rig = Rig(folder / f"long{len(text)}", url, RELAY_MAX_ANSWER=str(2 * length))
            with rig.relay() as relay, rig.worker() as pid:
                _until(lambda pid=pid: _has_sdk(pid))  # type: ignore[misc]
                time.sleep(3)
                base = rss(pid)
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from now on
                rig.finish(relay, 1)
                peak = rss(pid, "VmHWM") - base
        yield {"answer_bytes": size, "peak_bytes": peak}
        name = f"an answer of {length // 2**20} MiB of {kind} with its callback: memory / its size"
        yield Row(name=name, value=peak / size, target=target)
