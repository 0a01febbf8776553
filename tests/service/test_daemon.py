"""A worker in this process: what it does from its start to its stop, with a Claude that waits for the test."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claude_relay.config import Settings
from claude_relay.core.jobs.failure import Completion, Failure, worker_stopped
from claude_relay.core.jobs.job import OnInterrupt
from claude_relay.services import JobRef, Relay
from claude_relay.wiring.daemons import make_worker
from claude_relay.wiring.stores import open_worker_relay
from claude_relay.worker.daemon import Daemon
from claude_relay.worker.pacing import Pacing
from tests.support.builders import a_completion, a_submission
from tests.support.eventually import eventually


class HeldClaude:
    """Sends each call, and answers once `answers` is set; ends early where the worker says so."""

    def __init__(self) -> None:
        self.calls, self.polls, self.answers = 0, 0, threading.Event()

    def call(self, request: Any, *, stop: Callable[[], Any], sending: Callable[[], None], **_: Any) -> Any:
        self.calls += 1
        sending()
        result: Completion | Failure | None = None
        while result is None:
            self.polls += 1
            if self.answers.wait(0.02):
                result = a_completion()
            elif stop():
                result = worker_stopped(sent=True, ambiguous=True)
        return result

    def open(self) -> None: ...
    def close(self) -> None: ...


class Worker:
    """A daemon in a thread, of a Claude that the test holds."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        settings = Settings(store=f"sqlite:///{folder}/relay.db", webhook_secret=(), **fields)
        self.claude = HeldClaude()
        self.opened = open_worker_relay(settings, create=True)
        self.relay: Relay = self.opened.relay
        self.daemon: Daemon = make_worker(
            settings, self.opened, self.claude, SimpleNamespace(), Pacing(), name="the-name"
        )
        self.codes: list[int] = []
        self.thread = threading.Thread(target=lambda: self.codes.append(self.daemon.run()), name="test-worker")
        self.thread.start()

    def end(self) -> None:
        self.claude.answers.set()
        self.daemon.stop()
        self.daemon.stop()
        self.thread.join(60)
        self.opened.close()

    def state(self, name: str) -> Any:
        return self.relay.queries.status(JobRef(request_id=name))["status"]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(tmp_path, drain=300.0)
    yield worker
    worker.end()


def test_a_worker_registers_answers_and_leaves_nothing_behind(worker: Worker, tmp_path: Path) -> None:
    """CASES M12: it is listed while it runs; after its stop there is no heartbeat, lock or name of it."""
    worker.claude.answers.set()
    worker.relay.submit(a_submission("r-1"))
    eventually(lambda: worker.state("r-1") == "completed")
    [heartbeat] = eventually(worker.relay.maintenance.workers)
    assert heartbeat.id == worker.daemon.id
    assert list(tmp_path.rglob(f"{worker.daemon.id}*"))

    worker.daemon.stop()
    worker.thread.join(60)

    assert worker.codes == [0]
    assert worker.relay.maintenance.workers() == []
    assert not list(tmp_path.rglob(f"{worker.daemon.id}*"))


def test_a_first_stop_drains_the_calls_and_claims_no_more(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """CASES M12: the call in flight is brought to its end, and the next job is left to another worker."""
    caplog.set_level(logging.INFO)
    worker.relay.submit(a_submission("r-1"))
    eventually(lambda: worker.claude.calls == 1)
    worker.daemon.stop()
    eventually(lambda: "worker stopping" in caplog.messages)
    worker.relay.submit(a_submission("r-2"))
    polls = worker.claude.polls
    eventually(lambda: worker.claude.polls > polls + 25 or worker.claude.calls > 1 or worker.codes)
    worker.claude.answers.set()
    worker.thread.join(60)

    assert worker.codes == [0]
    assert (worker.state("r-1"), worker.state("r-2"), worker.claude.calls) == ("completed", "pending", 1)


def test_a_second_stop_interrupts_the_calls(worker: Worker) -> None:
    """CASES M12: at once, long before the drain ends; the job is queued again for the next worker."""
    worker.relay.submit(a_submission("r-1", on_interrupt=OnInterrupt.RETRY))
    eventually(lambda: worker.claude.calls == 1)
    worker.daemon.stop()
    worker.daemon.stop()
    worker.thread.join(60)

    assert worker.codes == [0]
    assert worker.relay.execution.running() == []
    assert worker.state("r-1") == "pending"


def test_a_thread_that_hangs_is_named_for_the_watchdog(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES M12: and none is while all make progress."""
    assert worker.daemon._hung() is None
    monkeypatch.setattr(worker.daemon._heartbeat.loop, "alive", lambda now, patience: False)
    assert worker.daemon._hung() == worker.daemon._heartbeat.loop.name
