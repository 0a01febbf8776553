"""The base of all statements: how they are run, and how rows become values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import Damaged

if TYPE_CHECKING:
    from ..header_encryption import HeaderCipher

T = TypeVar("T")

Row = Sequence[Any]
Rows = Sequence[Row]
Run = Callable[[str, Sequence[Any]], Rows]


class QueryBase:
    """
    A way to run statements, one time for all of them, and the cipher of webhook headers.

    A statement names the index it relies on as `/* index: jobs_due */` behind the table: PostgreSQL takes that for a
    comment, and SQLite's runner makes INDEXED BY of it (`sqlite/dialect.py`). An UPDATE that ends in `RETURNING 1`
    moves one row or is a conflict: a distant server may be asked as late as with the commit.
    """

    def __init__(self, run: Run, now: float, cipher: HeaderCipher) -> None:
        self._run = run
        self._now = now
        self._cipher = cipher
        self.refuses_used_ids = False
        #: Damage of rows that were left out: a write transaction notes it.
        self.skipped: list[Damaged] = []

    @property
    def now(self) -> float:
        """The time of this transaction, in seconds since 1970."""
        return self._now

    def _fetch_first(self, make: Callable[[Row], T], sql: str, args: Sequence[Any]) -> T | None:
        """The first row as a value; None without rows."""
        rows = self._run(sql, args)
        return _convert(make, rows[0]) if rows else None

    def _fetch_all(self, make: Callable[[Row], T], sql: str, args: Sequence[Any] = ()) -> list[T]:
        """Every row as a value."""
        return [_convert(make, row) for row in self._run(sql, args)]

    def _fetch_intact(self, make: Callable[[Row], T], sql: str, args: Sequence[Any] = ()) -> list[T]:
        """Every row as a value, except for damaged ones: the others must not wait for them. See `skipped`."""
        return self._intact(make, self._run(sql, args))

    def _fetch_first_intact(self, make: Callable[[Row], T], sql: str, args: Sequence[Any] = ()) -> T | None:
        """The first row as a value; None if there is none that is intact."""
        return next(iter(self._fetch_intact(make, sql, args)), None)

    def _intact(self, make: Callable[[Row], T], rows: Rows) -> list[T]:
        values = []
        for row in rows:
            try:
                values.append(_convert(make, row))
            except Damaged as exc:
                _log_skipped(exc)
                self.skipped.append(exc)
        return values

    def _fetch_value(self, sql: str, args: Sequence[Any] = ()) -> Any:
        """The first column of the first row; None without rows."""
        rows = self._run(sql, args)
        return rows[0][0] if rows else None

    def _fetch_time(self, sql: str, args: Sequence[Any] = ()) -> float | None:
        """A single time, which may be NULL or missing."""
        at: float | None = self._fetch_value(sql, args)
        return at

    def _count(self, sql: str, args: Sequence[Any] = ()) -> int:
        """The result of a `SELECT count(*)`."""
        return int(self._fetch_value(sql, args) or 0)

    def _fetch_pairs(self, sql: str, args: Sequence[Any] = ()) -> dict[str, Any]:
        """Rows of two columns as a mapping from the first to the second."""
        return {row[0]: row[1] for row in self._run(sql, args)}


def _convert(make: Callable[[Row], T], row: Row) -> T:
    """The value of a row. A row that is none of ours was changed by the disk: see `core.digests`."""
    try:
        return make(row)
    except (ValueError, TypeError, AttributeError, OverflowError) as exc:
        raise Damaged(f"a row of the store ({type(exc).__name__})") from exc


def _log_skipped(exc: Damaged) -> None:
    import logging  # here, as importing it is a fortieth of `status ID`

    logging.getLogger(__name__).error("skipped: %s", exc)


def placeholders(values: Collection[Any]) -> str:
    """The placeholders of `IN (…)` for those values; for none of them NULL, which equals nothing."""
    return ", ".join("?" * len(values)) or "NULL"
