"""
The callback of a collection, of the outcomes of its rows.

The transaction that ends the last row creates it, and all other writes wait for that one. So of a large collection the
rows that ended before are read ahead of it, and it reads the rest: within a generation an outcome never changes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

from ..core import wire
from ..core.collections import bodies
from ..core.collections.collection import Collection, Tally
from ..core.jobs.job import State
from ..ports import ReadTransaction, Store, Transaction
from .acks import ack_url
from .context import Context
from .transactions import Unprepared

_PIECE = 500
#: Rows from which a collection is too large to be read in the transaction that ends it (*measured*: 10,000 short
#: answers take 180 ms of CPU, and 20 where they were read before).
_LARGE = _PIECE
#: Results are read for the callback while their bodies have at most this many times its bytes: it has fewer keys.
_SHRINK = 3
_FAILED = (State.FAILED, State.CANCELLED)


@dataclass(kw_only=True)
class EndedRows:
    """The part of the callback that comes from rows of one generation that have ended."""

    generation: int
    limit: int  # bytes that results may have
    rows: set[int] = field(default_factory=set)
    usage: dict[str, int] = field(default_factory=dict)
    checks_failed: int | None = None  # None where no row has checks
    results: dict[int, bytes] | None = field(default_factory=dict, repr=False)  # None: they are too large
    size: int = 0

    def read(
        self, reads: ReadTransaction, identity: str, *, after_row: int = 0, numbers: tuple[int, ...] = ()
    ) -> int | None:
        """Add the next rows, or those with these numbers; returns the last one's number, None after all."""
        sums = reads.row_sums(identity, after_row=after_row, limit=_PIECE, numbers=numbers)
        for row, usage, checks in sums:
            self.rows.add(row)
            bodies.add_usage(self.usage, usage)
            if checks is not None:
                self.checks_failed = (self.checks_failed or 0) + any(check["ok"] is False for check in checks)
        if sums and self.results is not None:
            wanted = [row for row, _, _ in sums]
            for row, outcome in reads.row_outcomes(identity, numbers=wanted):
                self.results[row] = wire.encode(bodies.short_result(row, outcome))
                self.size += len(self.results[row])
            if self.size > self.limit:
                self.results = None

        return sums[-1][0] if len(sums) == _PIECE else None

    def copy(self) -> EndedRows:
        """A copy that may be added to: the transaction that does so may run again."""
        results = None if self.results is None else dict(self.results)

        return replace(self, rows=set(self.rows), usage=dict(self.usage), results=results)


def collect(tx: Transaction, collection: Collection, context: Context) -> EndedRows:
    """All rows, once every one has ended; raises `Unprepared` where too many of them have not been read before."""
    identity = collection.id
    ended = context.ended_rows.get(identity)
    if ended is None or ended.generation != collection.generation:
        if collection.total >= _LARGE:
            raise Unprepared(
                lambda store: _prepare(store, collection, context), lambda: context.ended_rows.pop(identity, None)
            )
        ended = _begin(tx, collection, context)
        ended.read(tx, identity)  # fewer than a piece
        return ended
    ended = ended.copy()
    missing = [row for row in range(1, collection.total + 1) if row not in ended.rows]
    for start in range(0, len(missing), _PIECE):
        ended.read(tx, identity, numbers=tuple(missing[start : start + _PIECE]))

    return ended


def callback(tx: Transaction, collection: Collection, counted: Tally, ended: EndedRows, context: Context) -> bytes:
    """The bytes of the callback."""
    policy = context.policy
    path = f"/api/collections/{collection.collection_id}/results"
    results = ended.results

    return bodies.callback_body(
        collection,
        counted,
        usage=ended.usage,
        failures=tx.rows(collection.id, states=_FAILED, limit=bodies.MAX_FAILURES),
        results=None if results is None else [results[row] for row in sorted(results)],
        results_url=f"{policy.public_url.rstrip('/')}{path}" if policy.public_url else path,
        metadata=tx.metadata(collection.id),
        ack_url=ack_url(tx, collection.job, context),
        limit=policy.callback_max,
        now=tx.now,
    )


def _begin(reads: ReadTransaction, collection: Collection, context: Context) -> EndedRows:
    limit = context.policy.callback_max
    ended = EndedRows(generation=collection.generation, limit=limit)
    if reads.results_size(collection.id) > _SHRINK * limit:
        ended.results = None

    return ended


def _prepare(store: Store, collection: Collection, context: Context) -> None:
    """Read the rows that have ended, in short reads."""
    ended = store.read(lambda reads: _begin(reads, collection, context))
    after_row: int | None = 0
    while after_row is not None:
        after_row = store.read(functools.partial(ended.read, identity=collection.id, after_row=after_row))
    context.ended_rows[collection.id] = ended
