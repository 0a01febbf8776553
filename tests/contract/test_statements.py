"""The messages to a PostgreSQL server: values as text, and statements that the server has prepared."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest

from claude_relay.core.policy import Policy
from claude_relay.services import JobRef, Relay
from claude_relay.storage.postgres import PostgresStore
from claude_relay.storage.postgres.session import Session
from claude_relay.storage.postgres.statements import Statements
from tests.support.builders import QuietNotifier, a_completion, a_submission
from tests.support.postgres import Cluster


@pytest.fixture
def store(postgres: Cluster) -> Iterator[PostgresStore]:
    with postgres.store() as store:
        yield store


def live(relay: Relay, name: str) -> None:
    relay.submit(a_submission(name))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.complete(claimed, a_completion())


def test_values_reach_the_server_as_they_are(store: PostgresStore) -> None:
    """Quotes, backslashes, every script, and the limits of numbers, whether the statement is prepared or not."""
    chance = random.Random(14)
    texts = ["", "'", "''", "\\", "\\'", "$1", "%s", "?", "; COMMIT", "æ😀\u2028", "E'\\x'", "\r\n\t"]
    texts += ["".join(chance.choices("'\\?%$æ;-", k=9)) for _ in range(20)]
    numbers = [0, -1, 2**31 - 1, 2**31, -(2**63), 2**63 - 1, 0.1, -1e-300, 1e300, 5e-324, math.inf, -math.inf]
    values: list[Any] = [*texts, *numbers, b"", b"\x00\\'\xff", True]
    connection, statements = store.connect(), Statements()
    kinds = {str: "text", int: "int8", float: "float8", bytes: "bytea", bool: "int4"}
    for _ in range(5):
        statements.begin(connection)
        for value in values:
            text = statements.text(f"SELECT ? :: {kinds[type(value)]}", (value,))
            for statement in statements.take_new():
                connection.execute(statement)
            [(answer,)] = connection.execute(text).fetchall()
            assert answer == value, text
    connection.close()

    assert text.startswith("EXECUTE")


def test_a_text_that_cannot_be_encoded_fails_before_it_is_sent() -> None:
    """So that it fails the function it belongs to, and not those that share its commit."""
    with pytest.raises(UnicodeEncodeError):
        Statements().text("SELECT ?", ("\ud83d",))


def test_prepared_statements_that_are_lost_cost_no_job(store: PostgresStore) -> None:
    """A pooler hands over another connection: the group runs again, and none is prepared from then on."""
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0))
    session: Session = store._session
    for number in range(6):
        live(relay, f"r-{number}")
    assert session._statements._plans
    session.connection.execute("DEALLOCATE ALL")
    live(relay, "r-6")
    live(relay, "r-7")

    assert not session._statements.prepares
    assert {relay.queries.status(JobRef(request_id=f"r-{number}"))["status"] for number in range(8)} == {"completed"}


def test_statements_of_another_process_of_that_name_cost_no_job(store: PostgresStore) -> None:
    """A pooler hands over a connection on which another process has prepared the same statements."""
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0))
    session: Session = store._session
    for number in range(6):
        live(relay, f"r-{number}")
    session._statements._plans.clear()
    live(relay, "r-6")

    assert not session._statements.prepares
    assert relay.queries.status(JobRef(request_id="r-6"))["status"] == "completed"


def test_plans_are_made_again_after_a_while(store: PostgresStore) -> None:
    """Those made while a table was empty would read all of it once it is large."""
    relay = Relay(store, QuietNotifier(), Policy(delivery_delay=0.0))
    session: Session = store._session
    for number in range(6):
        live(relay, f"r-{number}")
    session._statements._made_at = -math.inf
    live(relay, "r-6")

    assert session._statements.prepares
    [(count,)] = session.connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchall()
    assert count == len(session._statements._plans) < 10


def test_a_text_may_stand_for_a_value_of_another_type(store: PostgresStore) -> None:
    """As in a statement with its values: the type follows from the place."""
    connection, statements = store.connect(), Statements()
    connection.execute("CREATE TEMPORARY TABLE lists (of INTEGER[], at TIMESTAMPTZ)")
    for _ in range(4):
        statements.begin(connection)
        text = statements.text("INSERT INTO lists (of, at) VALUES (?, ?)", ("{1,2}", "2026-01-02T03:04:05Z"))
        for statement in statements.take_new():
            connection.execute(statement)
        connection.execute(text)
    [(rows,)] = connection.execute("SELECT count(*) FROM lists WHERE of = '{1,2}'").fetchall()
    connection.close()

    assert text.startswith("EXECUTE") and rows == 4
