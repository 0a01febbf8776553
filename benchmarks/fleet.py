"""
A fleet on one PostgreSQL: trips under its lock, WAL, CPU and jobs a second, with the server near and far.

APIs, workers, the sandbox as upstream and a receiver of callbacks are processes or threads of this machine. The server
is a throw-away one that syncs; a proxy before it adds the round trip time and counts. The fleets of all sizes are
started once, and work in turn. Jobs a second are those of the middle of a run: callers keep a number of jobs open, and
the first and the last ones, of which some part of the fleet does nothing, are not counted. Trips, log and CPU are those
of the whole run.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import psycopg

from claude_relay.sandbox import Sandbox, headers
from tests.support.distant_server import DistantServer
from tests.support.postgres import Cluster
from tests.support.receiver import Receiver

from .dispatch import _daemon, _until
from .rows import Row
from .servers import cpu_seconds

_KEY = "benchmark-key"
_CALLERS = 32
#: Jobs that were accepted and not delivered: a callback is due 1.25 s after its job began, so that this is no bound.
_OPEN = 320
#: So that a submit has about 1 KiB.
_PROMPT = "x" * 900
_SIZES = (1, 2, 4)
#: Targets by the name of a figure, for a fleet of two at that round trip time in seconds; 0: at any.
_TARGETS = {"jobs_per_second": (0.001, ">= 150"), "trips_a_job": (0, "<= 3"), "wal_bytes_a_job": (0, "<= 6000")}
_FIGURES = {
    "jobs_per_second": ("jobs", "/s"),
    "trips_a_job": ("trips with the lock", "a job"),
    "jobs_a_commit": ("writes that share a commit", ""),
    "wal_bytes_a_job": ("write-ahead log without full pages", "B a job"),
    "all_wal_bytes_a_job": ("write-ahead log with full pages", "B a job"),
    "full_pages_a_job": ("pages that were written there in full, after a checkpoint", "a job"),
    "api_cpu_ms": ("CPU of the APIs", "ms a job"),
    "worker_cpu_ms": ("CPU of the workers", "ms a job"),
    "server_cpu_ms": ("CPU of PostgreSQL", "ms a job"),
    "bench_cpu_ms": ("CPU of the callers, the upstream, the receiver and the proxy", "ms a job"),
}
#: Seconds between two looks at the number of deliveries.
_TICK = 0.02
_FULL_PAGES = """
SELECT count(*) FILTER (WHERE fpi_length > 0), coalesce(sum(fpi_length), 0)
FROM pg_get_wal_records_info(%s::pg_lsn, %s::pg_lsn)"""
#: Transactions of one job's life: submit, claim, mark, outcome, claim of its delivery, outcome of that.
_WRITES = 6


def run(
    folder: Path, *, rounds: int = 3, jobs: int = 960, rtts: tuple[float, ...] = (0.0, 0.0003, 0.001)
) -> Iterator[dict[str, Any] | Row]:
    """One line for each round, round trip time and size of the fleet; then the rows. Counts are exact in any round."""
    samples: dict[tuple[float, int], list[dict[str, float]]] = {}
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(durable=True))
        cluster.start()
        # The limits that its headers name are those of one account: a worker would wait for the next minute.
        stack.enter_context(mock.patch.dict(headers.LIMITS, dict.fromkeys(headers.LIMITS, 10**9)))
        sandbox = stack.enter_context(Sandbox())
        fleets = {size: stack.enter_context(Fleet(cluster, folder / f"fleet-{size}", size, sandbox)) for size in _SIZES}
        for fleet in fleets.values():
            fleet.work(jobs // 8, rtt=0.0)  # imports, connections, the first tables
        for _, rtt, size in itertools.product(range(rounds), rtts, _SIZES):
            measured = fleets[size].work(jobs, rtt=rtt)
            samples.setdefault((rtt, size), []).append(measured)
            yield {"rtt_ms": rtt * 1000, "machines": size, **measured}
        hot = fleets[2].hot_updates()
    yield {"hot_updates_percent": hot}
    for (rtt, size), each in samples.items():
        yield from _rows(rtt, size, each)


def _rows(rtt: float, size: int, each: list[dict[str, float]]) -> Iterator[Row]:
    for figure, (name, unit) in _FIGURES.items():
        values = [measured[figure] for measured in each]
        at, target = _TARGETS.get(figure, (0, ""))
        yield Row(
            name=f"PostgreSQL, round trip {rtt * 1000:g} ms, {size} API and worker: {name}",
            value=statistics.median(values),
            unit=unit,
            target=target if size == 2 and at in (0, rtt) else "",
            spread=(min(values), max(values)),
        )


class Fleet:
    """`size` APIs and as many workers on a database of their own."""

    def __init__(self, cluster: Cluster, folder: Path, size: int, sandbox: Sandbox) -> None:
        self._cluster, self._folder, self._size, self._sandbox = cluster, folder, size, sandbox
        self._stack = contextlib.ExitStack()
        self._pids: dict[str, list[int]] = {"serve": [], "worker": []}
        self._urls: list[str] = []
        self._done = 0

    def __enter__(self) -> Fleet:
        stack = self._stack
        database = self._cluster.database()
        self._wire = stack.enter_context(DistantServer(self._cluster.port))
        self._hook = stack.enter_context(Receiver())
        self._direct = stack.enter_context(psycopg.connect(database, autocommit=True))
        self._direct.execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
        for number in range(self._size):
            home = self._folder / str(number)
            home.mkdir(parents=True)
            env = _env(home, self._wire.url(database), self._sandbox.url)
            for verb, pids in self._pids.items():
                pids.append(stack.enter_context(_daemon(verb, env, home)).pid)
            log = home / "serve.log"
            self._urls.append(_until(lambda log=log: re.search(r"http://127\.0\.0\.1:\d+", log.read_text())).group(0))
        _until(lambda: self._value("SELECT count(*) FROM workers") == self._size)

        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def work(self, jobs: int, *, rtt: float) -> dict[str, float]:
        """Submit jobs and wait until each callback was delivered; returns the figures."""
        self._wire.set_rtt(rtt)
        log_start = self._log_end()
        trips, commits, cpu = self._wire.trips, self._wire.commits, self._cpu()
        times: list[tuple[float, int]] = []
        with _Callers(self._urls, self._hook.url("/done"), jobs, f"job-{self._done}") as callers:
            while not times or times[-1][1] < jobs:
                times.append((time.monotonic(), self._delivered() - self._done))
                callers.allow(_OPEN + times[-1][1])
                time.sleep(_TICK)
        self._done += jobs
        commits = self._wire.commits - commits
        # Before the log is read back, which costs the server a second for each hundred megabytes.
        cpu_ms = {name: round((after - cpu[name]) / jobs * 1000, 2) for name, after in self._cpu().items()}
        wal, pages, page_bytes = self._wal(log_start)

        return {
            "jobs_per_second": round(_rate(times, jobs)),
            "trips_a_job": round((self._wire.trips - trips) / jobs, 2),
            "commits_a_job": round(commits / jobs, 2),
            "jobs_a_commit": round(_WRITES * jobs / commits, 1),
            "wal_bytes_a_job": round((wal - page_bytes) / jobs),
            "all_wal_bytes_a_job": round(wal / jobs),
            "full_pages_a_job": round(pages / jobs, 2),
            **cpu_ms,
        }

    def hot_updates(self) -> dict[str, int]:
        """The percentage of updates that wrote no index, of the tables that every job updates."""
        sql = """SELECT relname, 100 * n_tup_hot_upd / n_tup_upd FROM pg_stat_user_tables
                 WHERE n_tup_upd > 0 AND relname IN ('jobs', 'deliveries', 'calls')"""
        return {name: int(percent) for name, percent in self._direct.execute(sql).fetchall()}

    def _delivered(self) -> int:
        """By the numbers that the store keeps, as they cost less than to count."""
        return self._value("SELECT coalesce(sum(n), 0) FROM tallies WHERE kind = 'delivery' AND state = 'delivered'")

    def _log_end(self) -> str:
        [(position,)] = self._direct.execute("SELECT pg_current_wal_flush_lsn()::text").fetchall()
        return str(position)

    def _wal(self, start: str) -> tuple[int, int, int]:
        """Bytes of the log, full pages, and their bytes, since `start`."""
        end = self._log_end()
        [(pages, size)] = self._direct.execute(_FULL_PAGES, (start, end)).fetchall()
        return self._value(f"SELECT '{end}'::pg_lsn - '{start}'::pg_lsn"), int(pages), int(size)

    def _value(self, sql: str) -> int:
        [(value,)] = self._direct.execute(sql).fetchall()
        return int(value)

    def _cpu(self) -> dict[str, float]:
        return {
            "api_cpu_ms": sum(map(cpu_seconds, self._pids["serve"])),
            "worker_cpu_ms": sum(map(cpu_seconds, self._pids["worker"])),
            "server_cpu_ms": self._cluster.cpu_seconds(),
            "bench_cpu_ms": time.process_time(),
        }


def _env(folder: Path, store: str, upstream: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "STATE_DIRECTORY": str(folder),
        "PORT": "0",
        "API_SECRET_KEY": _KEY,
        "ANTHROPIC_API_KEY": "sk-ant-none",
        "ANTHROPIC_BASE_URL": upstream,
        "RELAY_STORE": store,
        "RELAY_RATE_LIMIT": "off",
        "RELAY_RATE_LIMIT_SUBMIT": "off",
        "RELAY_ALLOW_PRIVATE_URLS": "127.0.0.1",
        "LOG_LEVEL": "error",
    }


def _rate(times: list[tuple[float, int]], jobs: int) -> float:
    """Deliveries a second, from the first third that was open until nothing more is submitted."""
    first = min(_OPEN, jobs // 4)
    last = max(jobs - _OPEN, jobs // 2)
    begin, done_before = next(each for each in times if each[1] >= first)
    end, done = next(each for each in times if each[1] >= last)

    return (done - done_before) / max(end - begin, _TICK)


class _Callers:
    """Threads that submit under the caller's own ids, as many jobs as are allowed."""

    def __init__(self, urls: list[str], hook: str, jobs: int, prefix: str) -> None:
        self._urls, self._hook, self._jobs, self._prefix = urls, hook, jobs, prefix
        self._changed = threading.Condition()
        self._next = self._allowed = 0
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(_CALLERS)]

    def __enter__(self) -> _Callers:
        for thread in self._threads:
            thread.start()

        return self

    def __exit__(self, *_: object) -> None:
        self.allow(self._jobs)
        for thread in self._threads:
            thread.join()

    def allow(self, jobs: int) -> None:
        """Let the callers submit up to that many jobs in all."""
        with self._changed:
            self._allowed = jobs
            self._changed.notify_all()

    def _call(self, number: int) -> None:
        host = urlsplit(self._urls[number % len(self._urls)]).netloc
        connection = http.client.HTTPConnection(host, timeout=30)
        headers = {"X-API-Key": _KEY, "Content-Type": "application/json"}
        while (job := self._take()) is not None:
            body = {"prompt": _PROMPT, "requestId": f"{self._prefix}-{job}", "webhookUrl": self._hook}
            connection.request("POST", "/api/claude", json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.read() and answer.status != 202:
                raise RuntimeError(f"a submit was answered {answer.status}")
        connection.close()

    def _take(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._next < self._allowed or self._next >= self._jobs)
            if self._next >= self._jobs:
                return None
            self._next += 1

            return self._next - 1
