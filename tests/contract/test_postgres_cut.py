"""A lost link between a process and PostgreSQL, and a process that is frozen while it has the lock of the fleet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.errors import StoreUnavailable
from claude_relay.storage.postgres import PostgresStore
from tests.support.eventually import eventually
from tests.support.postgres import Cluster
from tests.support.silent_wire import SilentWire

#: An answer within this time, in seconds: six, and what a busy machine adds. Without an end it never comes.
_LIMIT = 60.0

_FREEZES = """
import signal, sys
from claude_relay.storage.postgres import PostgresStore

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])  # in every thread: it waits for `sigwait`
store = PostgresStore(sys.argv[1], where="the test's")
runs = []

def work(tx):
    runs.append(1)
    tx.set_shared_value("frozen", len(runs))
    tx.shared_value("frozen")  # a look-up that was not announced: the write is on the server
    print(len(runs), flush=True)
    if len(runs) < 3:
        signal.sigwait([signal.SIGCONT])  # until it was stopped in this run, and goes on

for attempt in (1, 2):
    try:
        store.write(work)
        print("stored", flush=True)
        break
    except Exception as exc:
        print(type(exc).__name__, flush=True)
store.close()
"""


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    with postgres.place() as place:
        yield place


def answers(works: list[Any]) -> list[tuple[float, BaseException | None]]:
    """Run all at once; the seconds each took, and its error."""
    ends: list[tuple[float, BaseException | None]] = []

    def run(work: Any) -> None:
        began = time.monotonic()
        error = None
        try:
            work()
        except BaseException as exc:
            error = exc
        ends.append((time.monotonic() - began, error))

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
        time.sleep(0.02)  # each in a group of its own where it can be
    for thread in threads:
        thread.join(90)

    return ends


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_silent_network_is_answered_within_six_seconds(when: str, url: str, postgres: Cluster) -> None:
    """Bytes are lost and nothing is closed: writes, those that wait behind them, and reads get an error in time."""
    with SilentWire(postgres.port) as wire:
        store = PostgresStore(wire.url(url), where="the test's")
        store.write(lambda tx: tx.set_shared_value("a", 1))
        store.read(lambda tx: tx.shared_value("a"))

        def write(tx: Any) -> None:
            wire.cut()  # at the latest: BEGIN was answered, COMMIT will not be
            tx.set_shared_value("a", 2)

        if when == "before":
            wire.cut()
        writes: list[Any] = [lambda: store.write(write)] * 3
        reads: list[Any] = [lambda: store.read(lambda tx: tx.shared_value("a"))] * 3
        ends = answers(writes + reads)
        threading.Thread(target=store.close, daemon=True).start()

    assert len(ends) == 6
    assert all(isinstance(error, StoreUnavailable) for _, error in ends), ends
    assert max(seconds for seconds, _ in ends) < _LIMIT, ends


def test_a_slow_server_is_waited_for(url: str, postgres: Cluster) -> None:
    """A statement may take longer than the silence after which the link is checked."""
    store = PostgresStore(url, where="the test's")

    def slow(tx: Any) -> str:
        tx.set_shared_value("a", 1)
        tx._run("SELECT pg_sleep(2.2)", ())
        return "stored"

    assert store.write(slow) == "stored"
    store.close()


def test_a_process_that_freezes_again_blocks_the_others_no_longer_than_at_first(url: str, tmp_path: Path) -> None:
    """Stopped while it has the lock, and again in its second run: the others wait for two seconds and get no error."""
    store = PostgresStore(url, where="the test's")
    log = tmp_path / "frozen.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _FREEZES, url], stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    waits = []
    try:
        for run in ("1", "2"):
            eventually(lambda run=run: run in log.read_text().split(), within=60)
            os.kill(process.pid, signal.SIGSTOP)
            began = time.monotonic()
            store.write(lambda tx: tx.set_shared_value("other", 1))
            waits.append(time.monotonic() - began)
            os.kill(process.pid, signal.SIGCONT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)
        store.close()

    assert max(waits) < 9, waits  # 1.5 and what a busy machine adds; with the time of a slow function 10
    assert "stored" in log.read_text()
