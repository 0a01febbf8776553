"""
Write-ahead log of one job on PostgreSQL, by table and index: from the submit to the delivered callback.

The use cases run in one process, in groups of a fixed size, so that the figures are exact on a busy machine. Records
are read back with `pg_walinspect`. Full pages, which follow each checkpoint, are counted apart: they depend on how
often the server makes checkpoints, and on how many other rows share the page.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import PartialResponse
from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.postgres import PostgresStore
from tests.support.builders import QuietNotifier, a_completion, a_submission
from tests.support.postgres import Cluster

from .rows import Row

_GROUP = 16
_WORDS = "invoice total line amount of the and for customer order is paid due no date a to in with by".split()
_JOBS = 640
_NAME = "PostgreSQL, write-ahead log of a job of 1 KiB in the store alone"
_TARGET = "<= 6000"
_POSITION = "SELECT pg_current_wal_flush_lsn()::text"
_RECORDS = """
SELECT coalesce(c.relname, r.resource_manager), count(*), sum(r.record_length - r.fpi_length), sum(r.fpi_length)
FROM pg_get_wal_records_info(%s::pg_lsn, %s::pg_lsn) r LEFT JOIN pg_class c
    ON c.relfilenode = substring(r.block_ref FROM 'rel \\d+/\\d+/(\\d+)')::oid
GROUP BY 1 ORDER BY 3 DESC"""


def run(_folder: Path, **_more: int) -> Iterator[dict[str, Any] | Row]:
    """One line for each table and index; then the rows. Rounds would repeat the same figures."""
    with Cluster(durable=True) as cluster:
        cluster.start()
        url = cluster.database()
        cluster.run("CREATE EXTENSION pg_walinspect", url=url)
        relay = Relay(PostgresStore(url, where="the benchmark's"), QuietNotifier(), Policy(delivery_delay=0.0))
        live(relay, checkpoints=0)  # the first pages of all tables
        plain = yield from _measured(cluster, url, relay, "")
        texts = yield from _measured(cluster, url, relay, "one checkpoint of the text", checkpoints=1)
        cluster.run("CHECKPOINT")
        cold = yield from _measured(cluster, url, relay, "after a checkpoint of the server")
        relay.close()
    yield Row(name=f"{_NAME}, without full pages", value=plain.size, unit="B", target=_TARGET)
    yield Row(name=f"{_NAME}, with one checkpoint of its text", value=texts.size, unit="B")
    yield Row(name=f"{_NAME}: full pages of {_JOBS} jobs after a checkpoint of the server", value=cold.pages, unit="B")


@dataclass(frozen=True)
class _Log:
    """Bytes of a job without its full pages, and the bytes of those."""

    size: int
    pages: int


def _measured(
    cluster: Cluster, url: str, relay: Relay, label: str, *, checkpoints: int = 0
) -> Generator[dict[str, Any], None, _Log]:
    [(begin,)] = cluster.run(_POSITION, url=url)
    live(relay, checkpoints=checkpoints)
    cluster.run("SELECT pg_switch_wal()", url=url)
    [(end,)] = cluster.run(_POSITION, url=url)
    rows = cluster.run(_RECORDS, begin, end, url=url)
    for name, count, size, pages in rows:
        each = {"records": round(count / _JOBS, 2), "bytes": round(size / _JOBS), "full_pages": round(pages / _JOBS)}
        yield {"of": name, "when": label, **each}

    return _Log(*(round(sum(row[place] for row in rows) / _JOBS) for place in (2, 3)))


def live(relay: Relay, *, checkpoints: int, jobs: int = _JOBS) -> None:
    """Jobs with the caller's own id and a callback, in groups."""
    with ThreadPoolExecutor(_GROUP) as pool:
        for _ in range(jobs // _GROUP):
            list(pool.map(lambda _: relay.submit(_submission()), range(_GROUP)))
            claimed = relay.execution.claim("worker-1", limit=_GROUP)
            list(pool.map(relay.execution.sending, claimed))
            if checkpoints:
                partial = PartialResponse(text=_text(12), usage={"input_tokens": 10})
                relay.execution.checkpoint_many([(item, None, partial) for item in claimed])
            list(pool.map(lambda item: relay.execution.complete(item, a_completion(_text(60))), claimed))
            relay.deliveries.seconds_until_due()
            sent = relay.deliveries.claim("worker-1", limit=_GROUP, at_once=_GROUP, senders=_GROUP)
            list(pool.map(lambda item: relay.deliveries.record_attempt(item, Reply(status=200, ms=1)), sent))


_random = random.Random(14)


def _submission() -> Any:
    request = {"prompt": _text(180), "options": {"model": "claude-sonnet-5-5", "maxTokens": 100}}
    name = f"order-{_random.getrandbits(40)}"

    return a_submission(name, request=request, webhook_url="https://hook.example/done", prompt_length=900)


def _text(words: int) -> str:
    return " ".join(_random.choices(_WORDS, k=words))
