"""
The two servers of the accept benchmark: the relay, and the same app without a store.

`python -m benchmarks.servers durable|empty FOLDER` prints its URL. The empty one differs in one thing only: its relay
answers every submission as stored, and stores none.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from claude_relay import wiring
from claude_relay.config import Settings
from claude_relay.core.jobs.job import Job
from claude_relay.core.jobs.submission import Submission
from claude_relay.services import Accepted, Relay

KEY = "benchmark-key"


class StorelessRelay(Relay):
    """A relay that stores no submission."""

    def submit(self, submission: Submission, *, owner: str = "admin") -> Accepted:
        now = time.time()
        job: Job = self._submitter._new_job(submission, owner=owner, request_id=submission.request_id or "r", now=now)
        return Accepted(job=job, warnings=submission.warnings)

    def submit_many(self, submissions: Sequence[Submission], *, owner: str = "admin") -> Sequence[Accepted]:
        return [self.submit(submission, owner=owner) for submission in submissions]


def settings(folder: Path) -> Settings:
    """Settings of both servers, without rate limits for the load generator."""
    return Settings(
        api_secret_key=KEY,
        port=0,
        rate_limit=None,
        rate_limit_submit=None,
        store=f"sqlite:///{folder / 'relay.db'}",
        max_queue=10**9,
        log_level="error",
    )


def main() -> int:
    kind, folder = sys.argv[1], Path(sys.argv[2])
    from claude_relay.api.serve import Server

    given = settings(folder)
    with wiring.open_relay(given, create=True) as relay:
        if kind == "empty":
            relay.__class__ = StorelessRelay
        leaving = threading.Event()
        return Server(wiring.make_app(given, relay, leaving), given, relay, leaving).run()


if __name__ == "__main__":
    sys.exit(main())
