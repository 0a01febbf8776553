"""
Collections beside the same rows as single jobs: intake, memory, the whole cost of a row, results and checks.

Ratios compare rounds in turn on the same server, and hold on a busy machine as well; statements are counted.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import requests

from claude_relay.core.checks.evaluate import evaluate
from claude_relay.core.checks.expression import parse as parse_rule
from claude_relay.core.collections.intake import parse_collection
from claude_relay.core.intake import IntakeContext
from claude_relay.core.intake import parse as parse_body
from claude_relay.core.policy import Policy
from claude_relay.services import CollectionRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion
from tests.support.intake import an_intake_context
from tests.support.postgres import Cluster

from .rows import Row
from .servers import KEY, cpu_seconds, running

_BULK = 1_000
_HOOK = "https://hook.example/in"
_TEXT = "Les fakturaen: Sum 12 500,00 kr, KID 2345676, forfall 30.11.2026. "
_RULES = ("sum(lines.amount) == subtotal", "subtotal + vat == total", "lines.quantity * lines.price == lines.amount")


def run(folder: Path, *, rounds: int = 3, rows: int = 10_000, answer_kib: int = 100) -> Iterator[dict[str, Any] | Row]:
    """A line for each round and engine, then the rows."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(durable=True).start())
        for engine in ("sqlite", "postgres"):
            samples = []
            for number in range(rounds):
                place = folder / f"tables-{engine}-{number}"
                store = cluster.database() if engine == "postgres" else f"sqlite:///{place / 'relay.db'}"
                samples.append(_intake(place, store, rows))
                yield {"engine": engine, **samples[-1]}
            for key, name, unit, target in (
                ("ratio", f"{rows:,} rows at once / as bulks of {_BULK:,}", "", "<= 1.5"),
                ("cpu_ratio", "CPU of the API for a row / for a job of a bulk", "", "<= 1.05"),
                ("memory_mb", "memory of the API, at its highest", "MB", "<= 150"),
                ("slowest_ms", "the slowest submit beside the intake", "ms", "<= 100"),
                ("alone_ms", "the slowest submit without it", "ms", ""),
            ):
                values = [sample[key] for sample in samples]
                spread = min(values), max(values)
                yield Row(
                    name=f"{engine}: {name}", value=statistics.median(values), unit=unit, target=target, spread=spread
                )
    cost = _cost(folder)
    yield {"cost": cost}
    for key in ("statements", "bytes"):
        ratio = cost["row"][key] / cost["job"][key]
        yield Row(name=f"a row from intake to its end / a single job: {key}", value=ratio, target="<= 1.05")
    for form in ("json", "ndjson", "csv"):
        memory = _results(folder, form, rows, answer_kib)
        yield Row(
            name=f"{rows:,} results of {answer_kib} KiB as {form}: memory", value=memory, unit="MB", target="<= 64"
        )
    yield Row(name="checks of 100 lines, a rule", value=_check(), unit="ms", target="<= 1")


def _intake(folder: Path, store: str, rows: int) -> dict[str, float]:
    """The times of the same rows as bulks and as a collection, and of another submit beside the latter."""
    command = [sys.executable, "-m", "benchmarks.tables", "serve", str(folder), store]
    with running(command, folder) as (url, pid), requests.Session() as session:
        session.headers["X-API-Key"] = KEY
        _bulks(session, url, "warm", 100)
        cpu, began = cpu_seconds(pid), time.monotonic()
        _bulks(session, url, "job", rows)
        bulk, bulk_cpu = time.monotonic() - began, cpu_seconds(pid) - cpu
        body = {
            "collectionId": "c",
            "template": {"prompt": "{{text}}"},
            "webhookUrl": _HOOK,
            "rows": [{"text": f"{_TEXT}{number}"} for number in range(rows)],
        }
        data = json.dumps(body).encode()
        cpu, began = cpu_seconds(pid), time.monotonic()
        answer = session.post(f"{url}/api/collections", data=data, headers={"Content-Type": "application/json"})
        whole, whole_cpu = time.monotonic() - began, cpu_seconds(pid) - cpu
        answer.raise_for_status()
        memory = _memory("VmHWM", pid)
        body["collectionId"] = "d"
        alone = _slowest_submit(url, lambda: time.sleep(whole))
        beside = _slowest_submit(url, lambda: session.post(f"{url}/api/collections", json=body).raise_for_status())

        return {
            "bulk_s": round(bulk, 2),
            "collection_s": round(whole, 2),
            "ratio": round(whole / bulk, 3),
            "cpu_ratio": round(whole_cpu / max(bulk_cpu, 0.01), 3),
            "memory_mb": round(memory, 1),
            "slowest_ms": round(beside, 1),
            "alone_ms": round(alone, 1),
        }


def _slowest_submit(url: str, meanwhile: Callable[[], object]) -> float:
    """The slowest of the submits that another process makes meanwhile, in ms."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.tables", "submit", url], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdin is not None
        other.stdout.readline()
        meanwhile()
        return float(other.communicate(b"\n")[0])


def _bulks(session: requests.Session, url: str, prefix: str, rows: int) -> None:
    for start in range(0, rows, _BULK):
        jobs = [
            {"requestId": f"{prefix}-{number}", "prompt": f"{_TEXT}{number}", "webhookUrl": _HOOK}
            for number in range(start, min(start + _BULK, rows))
        ]
        answer = session.post(f"{url}/api/claude/bulk", json=jobs)
        answer.raise_for_status()


def _memory(kind: str, pid: int | str = "self") -> float:
    """The resident memory of a process, in MB: `VmRSS` is the present one, `VmHWM` the highest."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(kind)]

    return int(line.split()[1]) / 1024


class _Counted(SqliteStore):
    """Counts statements."""

    statements = 0

    def _connect(self) -> apsw.Connection:
        connection = super()._connect()
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, self._count)
        return connection

    def _count(self, _: dict[str, Any]) -> None:
        _Counted.statements += 1


def _cost(folder: Path, count: int = 2_000) -> dict[str, dict[str, float]]:
    """
    Statements and bytes of the store for one row, and for one job with a webhook, from intake to its end.

    Without the results in the one callback, as of a collection that is too large for them.
    """
    context, costs = an_intake_context(), {}
    for kind in ("job", "row"):
        place = folder / f"cost-{kind}"
        place.mkdir()
        policy = Policy(callback_max=100_000)
        relay = Relay(_Counted(place / "relay.db"), QuietNotifier(), policy, rng=random.Random(0))
        _Counted.statements = 0
        if kind == "row":
            _collection(relay, context, [{"text": f"{_TEXT}{number}"} for number in range(count)], each=True)
        else:
            for start in range(0, count, _BULK):
                bodies = [
                    {"requestId": f"j:{number}", "prompt": f"{_TEXT}{number}", "webhookUrl": _HOOK}
                    for number in range(start, start + _BULK)
                ]
                relay.submit_many([parse_body(body, now=time.time(), context=context) for body in bodies])
        while claimed := relay.execution.claim("w", limit=50):
            for item in claimed:
                relay.execution.complete(item, a_completion("Svar på linje " * 80))
        statements = _Counted.statements
        relay.close()
        size = sum(file.stat().st_size for file in place.iterdir())
        costs[kind] = {"statements": statements / count, "bytes": size / count}

    return costs


def _collection(relay: Relay, context: IntakeContext, rows: list[dict[str, str]], **fields: Any) -> None:
    body = {"collectionId": "c", "template": {"prompt": "{{text}}"}, "webhookUrl": _HOOK, "rows": rows, **fields}
    request = parse_collection(body, now=time.time(), context=context)
    relay.collections.create(request, context, now=time.time())


def _results(folder: Path, form: str, rows: int, kib: int) -> float:
    """The memory by which a process grows that streams results, in MB; they are made by the first form."""
    place = folder / "results"
    if not place.exists():
        place.mkdir()
        relay = Relay(SqliteStore(place / "relay.db"), QuietNotifier(), Policy(), rng=random.Random(0))
        _collection(relay, an_intake_context(), [{"text": str(number)} for number in range(rows)])
        while claimed := relay.execution.claim("w", limit=50):
            for item in claimed:
                relay.execution.complete(item, a_completion("Svar på " * (kib * 128)))
        relay.close()
    command = [sys.executable, "-m", "benchmarks.tables", "results", str(place / "relay.db"), form]

    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _stream(store: str, form: str) -> None:
    from claude_relay.core.collections.csv_output import CsvForm

    relay = Relay(SqliteStore(Path(store)), QuietNotifier(), Policy())
    ref, results = CollectionRef(collection_id="c"), relay.collection_results
    relay.collections.show(ref)
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory so far, that of the imports, counts no more
    before = _memory("VmRSS")
    for _ in results.csv(ref, CsvForm()) if form == "csv" else getattr(results, form)(ref):
        pass
    print(_memory("VmHWM") - before)
    relay.close()


def _check(count: int = 200) -> float:
    """Milliseconds of CPU for a rule over an invoice of 100 lines."""
    lines = [{"quantity": 2, "price": 1.05 + number, "amount": 2.1 + 2 * number} for number in range(100)]
    answer = {"lines": lines, "subtotal": 10110, "vat": 2527.5, "total": 12637.5}
    rules = [(parse_rule(rule), Decimal(0)) for rule in _RULES]
    began = time.process_time()
    for _ in range(count):
        evaluate(rules, answer)

    return (time.process_time() - began) / count / len(rules) * 1000


def _submit_until_told(url: str) -> None:
    """Submit every 20 ms until a line comes, and print the slowest in ms."""
    import select

    slowest, number = 0.0, 0
    with requests.Session() as session:
        session.headers["X-API-Key"] = KEY
        session.get(f"{url}/health")
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0.02)[0]:
            began = time.monotonic()
            session.post(f"{url}/api/claude", json={"prompt": f"Hei {number}"}).raise_for_status()
            slowest, number = max(slowest, time.monotonic() - began), number + 1
    print(slowest * 1000)


def _serve(folder: Path, store: str) -> int:
    import threading
    from dataclasses import replace

    from claude_relay import wiring
    from claude_relay.api.serve import Server

    from .servers import settings

    given = replace(settings(folder), store=store)
    with wiring.open_relay(given, create=True) as relay:
        leaving = threading.Event()
        return Server(wiring.make_app(given, relay, leaving), given, relay, leaving).run()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        sys.exit(_serve(Path(sys.argv[2]), sys.argv[3]))
    if sys.argv[1] == "submit":
        _submit_until_told(sys.argv[2])
    else:
        _stream(*sys.argv[2:])
