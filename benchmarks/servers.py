"""
The relay's two servers of the accept benchmark: with its store, and the same app without one.

`python -m benchmarks.servers durable|empty|postgres|pair FOLDER [STORE]` prints its URL. The empty one differs in one
thing only: its relay answers every submission as stored, and stores none. The pair are two durable processes on one
socket and store.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from claude_relay import wiring
from claude_relay.config import Settings
from claude_relay.core.jobs.submission import Submission
from claude_relay.core.text.rates import Rate
from claude_relay.services import Accepted, PreparedSubmit, Relay
from claude_relay.services.submit import new_job

KEY = "benchmark-key"
#: Counted for every request, and never reached. Of a second, as the hits of a minute would be megabytes.
_RATE = Rate(count=10**6, seconds=1)


class StorelessRelay(Relay):
    """A relay that stores no submission."""

    def submit(self, submission: Submission, *, owner: str = "admin") -> Accepted:
        now = time.time()
        context, request_id = self._submitter._context, submission.request_id or "r"
        job = new_job(submission, context, owner=owner, request_id=request_id, now=now)
        return Accepted(job=job, warnings=submission.warnings)

    def prepare_submit(self, submission: Submission, *, owner: str, now: float) -> PreparedSubmit:
        accepted = self.submit(submission, owner=owner)
        job = accepted.job
        return PreparedSubmit(
            request_id=job.request_id, warnings=(), webhook_empty=False, store=lambda done: done(accepted)
        )

    def submit_many(self, submissions: Sequence[Submission], *, owner: str = "admin") -> Sequence[Accepted]:
        return [self.submit(submission, owner=owner) for submission in submissions]


def settings(folder: Path, store: str = "") -> Settings:
    """Settings of the servers; their rate limits count, and refuse nothing."""
    return Settings(
        api_secret_key=KEY,
        port=0,
        rate_limit=_RATE,
        rate_limit_submit=_RATE,
        store=store or f"sqlite:///{folder / 'relay.db'}",
        max_queue=10**9,
        log_level="error",
    )


@contextlib.contextmanager
def running(command: Sequence[str], folder: Path) -> Iterator[tuple[str, int]]:
    """Start a server that prints its URL; gives the URL and the process id."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield _url(process, log), process.pid
    finally:
        process.terminate()
        process.wait(30)


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return match.group(0)
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def main() -> int:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    from claude_relay.api.serve import Server
    from claude_relay.garbage import spare_daemon
    from claude_relay.malloc import return_large_blocks, share_arenas
    from claude_relay.systemd import Supervisor

    return_large_blocks()
    share_arenas()

    given, supervisor, second = settings(folder, *sys.argv[3:]), Supervisor(), 0
    if kind == "pair":
        supervisor = Supervisor(sockets=[socket.create_server(("127.0.0.1", 0), backlog=4_096)])
        second = os.fork()
    with wiring.open_relay(given, create=True) as relay:
        if kind == "empty":
            relay.__class__ = StorelessRelay
        leaving = threading.Event()
        server = Server(wiring.make_app(given, relay, leaving), given, relay, leaving, supervisor)
        spare_daemon()
        code = server.run()
    if second:
        os.kill(second, signal.SIGTERM)
        os.waitpid(second, 0)

    return code


if __name__ == "__main__":
    sys.exit(main())
