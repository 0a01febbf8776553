"""
A fleet on one PostgreSQL: trips under its lock, WAL and jobs a second, with the server near and far.

APIs, workers, the sandbox as upstream and a receiver of callbacks are processes or threads of this machine. The server
is a throw-away one that syncs; a proxy before it adds the round trip time and counts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import requests

from claude_relay.sandbox import Sandbox
from tests.support.distant_server import DistantServer
from tests.support.postgres import Cluster
from tests.support.receiver import Receiver

from .dispatch import _daemon, _until
from .rows import Row

_KEY = "benchmark-key"
_CALLERS = 32


def run(
    folder: Path, *, rounds: int = 1, jobs: int = 400, rtts: tuple[float, ...] = (0.0, 0.0003, 0.001)
) -> Iterator[dict[str, Any] | Row]:
    """One line, and the rows, for each round trip time and size of the fleet. Counts are exact: one round will do."""
    with Cluster(durable=True) as cluster:
        cluster.start()
        for number, rtt, size in itertools.product(range(min(rounds, 1)), rtts, (1, 2, 4)):
            with DistantServer(cluster.port, rtt=rtt) as server:
                place = folder / f"fleet-{number}-{rtt}-{size}"
                measured = _measure(cluster, server, place, size, jobs)
                yield {"rtt_ms": rtt * 1000, "machines": size, **measured}
                name = f"PostgreSQL, round trip {rtt * 1000:g} ms, {size} API and worker"
                yield Row(name=f"{name}: jobs", value=measured["jobs_per_second"], unit="/s")
                yield Row(name=f"{name}: trips with the lock", value=measured["trips_a_job"], unit="a job")


def _measure(cluster: Cluster, server: DistantServer, folder: Path, size: int, jobs: int) -> dict[str, Any]:
    database = cluster.database()
    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        hook = stack.enter_context(Receiver())
        direct = stack.enter_context(psycopg.connect(database, autocommit=True))
        urls = []
        for number in range(size):
            home = folder / str(number)
            home.mkdir(parents=True)
            env = _env(home, server.url(database), sandbox.url)
            stack.enter_context(_daemon("serve", env, home))
            log = home / "serve.log"
            urls.append(_until(lambda log=log: re.search(r"http://127\.0\.0\.1:\d+", log.read_text())).group(0))
            stack.enter_context(_daemon("worker", env, home))
        _until(lambda: direct.execute("SELECT count(*) FROM workers").fetchall() == [(size,)])
        _submit(urls, hook.url("/warm"), jobs // 4, "warm")
        _until(lambda: _delivered(direct) == jobs // 4)

        trips, commits, position = server.trips, server.commits, _wal(direct)
        began = time.monotonic()
        _submit(urls, hook.url("/done"), jobs, "job")
        accepted = time.monotonic() - began
        _until(lambda: _delivered(direct) == jobs + jobs // 4)
        spent = time.monotonic() - began

        return {
            "jobs_per_second": round(jobs / spent),
            "accepted_per_second": round(jobs / accepted),
            "trips_a_job": round((server.trips - trips) / jobs, 2),
            "commits_a_job": round((server.commits - commits) / jobs, 2),
            "wal_bytes_a_job": round((_wal(direct) - position) / jobs),
            "hot_updates_percent": _hot(direct),
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


def _submit(urls: list[str], hook: str, jobs: int, prefix: str) -> None:
    """Submit under the caller's own ids, from several callers at once."""
    numbers = iter(range(jobs))
    lock = threading.Lock()

    def call(number: int) -> None:
        with requests.Session() as session:
            session.headers.update({"X-API-Key": _KEY, "Content-Type": "application/json"})
            while True:
                with lock:
                    job = next(numbers, None)
                if job is None:
                    return
                body = {"prompt": "Hei", "requestId": f"{prefix}-{job}", "webhookUrl": hook}
                answer = session.post(f"{urls[number % len(urls)]}/api/claude", data=json.dumps(body), timeout=30)
                answer.raise_for_status()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(_CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _delivered(connection: psycopg.Connection[Any]) -> int:
    [(count,)] = connection.execute("SELECT count(*) FROM deliveries WHERE state = 'delivered'").fetchall()

    return int(count)


def _wal(connection: psycopg.Connection[Any]) -> int:
    [(position,)] = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchall()

    return int(position)


def _hot(connection: psycopg.Connection[Any]) -> dict[str, int]:
    sql = """SELECT relname, 100 * n_tup_hot_upd / n_tup_upd FROM pg_stat_user_tables
             WHERE n_tup_upd > 0 AND relname IN ('jobs', 'deliveries', 'calls')"""

    return {name: int(percent) for name, percent in connection.execute(sql).fetchall()}
