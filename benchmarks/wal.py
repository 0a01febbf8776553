"""
Write-ahead log of one job on PostgreSQL, by table and index: from the submit to the delivered callback.

The use cases run in one process, in groups of a fixed size, so that the figures are exact on a busy machine. Records
are read back with `pg_walinspect`. Full pages, which follow each checkpoint, are counted apart: they depend on how
often the server makes checkpoints, and on how many other rows share the page.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
_TARGET = "<= 6000"
_RECORDS = """
SELECT coalesce(c.relname, r.resource_manager), count(*), sum(r.record_length - r.fpi_length), sum(r.fpi_length)
FROM pg_get_wal_records_info(%s::pg_lsn, %s::pg_lsn) r LEFT JOIN pg_class c
    ON c.relfilenode = substring(r.block_ref FROM 'rel \\d+/\\d+/(\\d+)')::oid
GROUP BY 1 ORDER BY 3 DESC"""


def run(folder: Path, *, rounds: int = 1, jobs: int = 640) -> Iterator[dict[str, Any] | Row]:  # noqa: ARG001
    """One line for each table and index; then the rows. Rounds would repeat the same figures."""
    with Cluster(durable=True) as cluster:
        cluster.start()
        for checkpoints in (0, 1):
            url = cluster.database()
            cluster.run("CREATE EXTENSION pg_walinspect", url=url)
            relay = Relay(PostgresStore(url, where="the benchmark's"), QuietNotifier(), Policy(delivery_delay=0.0))
            live(relay, jobs, checkpoints)  # the first pages and a grown index
            for after in ("", "checkpoint") if not checkpoints else ("",):
                if after:
                    cluster.run("CHECKPOINT")
                parts = measure(cluster, url, partial(live, relay, jobs, checkpoints))
                for name, count, size, pages in parts:
                    yield {
                        "after": after, "checkpoints": checkpoints, "of": name, "records": round(count / jobs, 2),
                        "bytes": round(size / jobs), "full_pages": round(pages / jobs),
                    }  # fmt: skip
                size, pages = (sum(part[place] for part in parts) / jobs for place in (2, 3))
                with_text = ", with a checkpoint of its text" if checkpoints else ""
                if not after:
                    name = f"PostgreSQL, write-ahead log of a job of 1 KiB{with_text}, without full pages"
                    yield Row(name=name, value=round(size), unit="B", target=_TARGET)
                else:
                    name = "PostgreSQL, full pages of a job, all after one checkpoint of the server"
                    yield Row(name=name, value=round(pages), unit="B")
            relay.close()


def measure(cluster: Cluster, url: str, work: Callable[[], None]) -> Sequence[tuple[str, int, int, int]]:
    """Records, bytes and bytes of full pages by table or index, the largest first."""
    [(begin,)] = cluster.run("SELECT pg_current_wal_insert_lsn()::text", url=url)
    work()
    [(end,)] = (cluster.run("SELECT pg_switch_wal(), pg_current_wal_flush_lsn()::text", url=url)[0][1:],)
    rows = cluster.run(_RECORDS, begin, end, url=url)

    return [(name, int(count), int(size), int(pages)) for name, count, size, pages in rows]


def live(relay: Relay, jobs: int, checkpoints: int) -> None:
    """Jobs with the caller's own id and a callback, in groups."""
    with ThreadPoolExecutor(_GROUP) as pool:
        for _ in range(jobs // _GROUP):
            list(pool.map(lambda _: relay.submit(_submission()), range(_GROUP)))
            claimed = relay.execution.claim("worker-1", limit=_GROUP)
            list(pool.map(relay.execution.sending, claimed))
            for number in range(checkpoints):
                partial = PartialResponse(text="x" * 50 * (number + 1), usage={"input_tokens": 10})
                list(pool.map(lambda item: relay.execution.checkpoint(item, partial), claimed))  # noqa: B023
            list(pool.map(lambda item: relay.execution.complete(item, a_completion(_text(60))), claimed))
            relay.deliveries.next_due()
            sent = relay.deliveries.claim("worker-1", limit=_GROUP, at_once=_GROUP, senders=_GROUP)
            list(pool.map(lambda item: relay.deliveries.record_attempt(item, Reply(status=200, ms=1)), sent))


_random = random.Random(14)


def _submission() -> Any:
    request = {"prompt": _text(160), "options": {"model": "claude-sonnet-5-5", "maxTokens": 100}}
    name = f"order-{_random.getrandbits(40)}"

    return a_submission(name, request=request, webhook_url="https://hook.example/done", prompt_length=900)


def _text(words: int) -> str:
    return " ".join(_random.choices(_WORDS, k=words))
