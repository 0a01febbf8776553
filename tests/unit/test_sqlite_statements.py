"""Statements on SQLite: those of a group together, and none that keeps a body in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw
import pytest

from claude_relay import wiring
from claude_relay.config import Settings
from claude_relay.storage.sql.query import Rows
from claude_relay.storage.sqlite.statements import look_up
from tests.support.builders import a_submission


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


@pytest.mark.parametrize(("count", "length"), [(1, 8 * 2**20), (5, 2**21)])
def test_bodies_do_not_stay_in_memory_with_the_statement_that_stored_them(tmp_path, count: int, length: int) -> None:
    """A prepared statement keeps its values until it is used again, which for a large group may be never."""
    settings = Settings(store=f"sqlite:///{tmp_path / 'relay.db'}")
    with wiring.open_relay(settings, create=True) as relay:
        relay.submit(a_submission("small"))
        before = apsw.memory_used()
        for size in range(1, count + 1):
            relay.submit_many([a_submission(request={"prompt": "x" * (length // size)}) for _ in range(size)])

        assert apsw.memory_used() - before < 4 * 2**20
        assert relay.queries.overview()["jobs"]["queued"] == 1 + count * (count + 1) // 2
