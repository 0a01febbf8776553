"""The look-ups of a group on SQLite: few statements, the rows of each look-up apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from claude_relay.storage.sql.query import Rows
from claude_relay.storage.sqlite.lookups import look_up


def test_look_ups_of_one_kind_are_one_statement_and_each_gets_its_rows() -> None:
    """Forty look-ups of two kinds take four statements; the order of the answers is that of the questions."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE t (a, b)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(number % 7, number) for number in range(70)])
    statements: list[str] = []

    def run(sql: str, args: Sequence[Any]) -> Rows:
        statements.append(sql)
        return connection.execute(sql, tuple(args)).fetchall()

    kinds = ("SELECT b FROM t WHERE a = ? ORDER BY b DESC", "SELECT count(*), max(b) FROM t WHERE a = ? AND b > ?")
    lookups = [(kinds[0], (n,)) if n % 2 else (kinds[1], (n, "limit")) for n in range(40)]
    found = look_up(run, lookups, lambda value: 30 if value == "limit" else value)

    expected = [
        connection.execute(sql, tuple(30 if value == "limit" else value for value in args)).fetchall()
        for sql, args in lookups
    ]
    assert ([list(rows) for rows in found], len(statements)) == (expected, 4)
