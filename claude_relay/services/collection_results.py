"""The results of a collection as a stream: JSON, NDJSON or CSV, in the order of the input."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.checks import review
from ..core.collections import bodies
from ..core.collections.csv_output import Columns, CsvForm, csv_line
from ..core.jobs.job import Job, State
from ..errors import Busy
from .collections import CollectionRef, get_collection
from .transactions import query

if TYPE_CHECKING:
    from ..core.collections.collection import Collection
    from ..ports import ReadTransaction
    from .context import Context

#: Rows that are read at once: an answer may have 100 KiB and more.
_PIECE = 16
#: Downloads of one process at once: each holds a thread for as long as its client reads.
MAX_DOWNLOADS = 8
#: Rows whose checks are read at once.
_CHECKED = 500
_Row = tuple[Job, Any, dict[str, Any] | None]


class _Download(Iterator[bytes]):
    """A stream that gives its place back when it ends or is closed."""

    def __init__(self, pieces: Iterator[bytes], release: Callable[[], None]) -> None:
        self._pieces, self._release = pieces, [release]

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it; the server calls this where the client is gone."""
        while self._release:
            self._release.pop()()

    __del__ = close  # of a response that was never begun, as of HEAD


class CollectionResults:
    """Streams results; each piece is a read of its own, so that a slow reader holds no snapshot."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._places = threading.BoundedSemaphore(MAX_DOWNLOADS)

    def download(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces for a slow client; raises `Busy` while too many others download."""
        if not self._places.acquire(blocking=False):
            raise Busy(f"{MAX_DOWNLOADS} other results are being downloaded: try again in a moment", retry_after=5)

        return _Download(pieces, self._places.release)

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
