"""The results of a collection as a stream: JSON, NDJSON or CSV, in the order of the input."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.checks import review
from ..core.collections import bodies
from ..core.collections.csv_output import Columns, CsvForm, csv_line
from ..core.jobs.job import Job, State
from .collections import CollectionRef, get_collection
from .transactions import query

if TYPE_CHECKING:
    from ..core.collections.collection import Collection
    from ..ports import ReadTransaction
    from .context import Context

#: Rows that are read at once: an answer may have 100 KiB and more.
_PIECE = 16
#: Rows whose checks are read at once.
_CHECKED = 500
_Row = tuple[Job, Any, dict[str, Any] | None]


class CollectionResults:
    """Streams results; each piece is a read of its own, so that a slow reader holds no snapshot."""

    def __init__(self, context: Context) -> None:
        self._store = context.store

    def json(self, ref: CollectionRef) -> Iterator[bytes]:
        """A JSON array. Raises `NotFound` before the first piece."""
        return self._json(self._find(ref))

    def ndjson(self, ref: CollectionRef) -> Iterator[bytes]:
        """A JSON object in each line."""
        return (b"%s\n" % line for line in self._objects(self._find(ref)))

    def csv(self, ref: CollectionRef, form: CsvForm) -> Iterator[bytes]:
        """CSV: the input's columns, the fields of the answers, and id, status, error and cost."""
        return self._csv(self._find(ref), form)

    @query
    def failed(self, tx: ReadTransaction, ref: CollectionRef, *, limit: int) -> Sequence[Job]:
        """The first failed rows, by an index."""
        collection = get_collection(tx, ref)
        rows = tx.rows(collection.id, states=(State.FAILED, State.CANCELLED), limit=limit)

        return [row for row in rows if (row.row or 0) <= collection.total]

    def with_failed_checks(
        self, ref: CollectionRef, *, limit: int
    ) -> Sequence[tuple[int, Sequence[Mapping[str, Any]]]]:
        """The first rows with a check that is false, and these checks; answers are not read."""
        identity, after_row = self._find(ref).id, 0
        marked: list[tuple[int, Sequence[Mapping[str, Any]]]] = []
        while len(marked) < limit and (rows := self._checks(identity, after_row)):
            marked += [(number, broken) for number, checks in rows if (broken := review.failed(checks or ()))]
            after_row = rows[-1][0]

        return marked[:limit]

    @query
    def _checks(
        self, tx: ReadTransaction, identity: str, after_row: int
    ) -> Sequence[tuple[int, Sequence[dict[str, Any]] | None]]:
        return [(row, checks) for row, _, checks in tx.row_sums(identity, after_row=after_row, limit=_CHECKED)]

    @query
    def _find(self, tx: ReadTransaction, ref: CollectionRef) -> Collection:
        return get_collection(tx, ref)

    def _json(self, collection: Collection) -> Iterator[bytes]:
        mark = b"["
        for line in self._objects(collection):
            yield mark + line
            mark = b",\n"
        yield b"[]\n" if mark == b"[" else b"]\n"

    def _objects(self, collection: Collection) -> Iterator[bytes]:
        for job, body, _ in self._rows(collection):
            yield json.dumps(bodies.full_result(job, body), ensure_ascii=False, separators=(",", ":")).encode(
                "utf-8", "replace"
            )

    def _csv(self, collection: Collection, form: CsvForm) -> Iterator[bytes]:
        columns = Columns(collection.columns)
        for _, body, _ in self._rows(collection):  # the titles come first, and depend on every answer
            columns.observe(body)
        yield (b"\xef\xbb\xbf" if form.bom else b"") + csv_line(columns.header(), form)
        for job, body, variables in self._rows(collection):
            yield csv_line(columns.cells(variables, bodies.full_result(job, body), form), form)

    def _rows(self, collection: Collection) -> Iterator[_Row]:
        after_row = 0
        while rows := self._piece(collection, after_row):
            yield from rows
            after_row = rows[-1][0].row or 0

    @query
    def _piece(self, tx: ReadTransaction, collection: Collection, after_row: int) -> Sequence[_Row]:
        return tx.row_results(collection.id, after_row=after_row, total=collection.total, limit=_PIECE)
