"""Decorators that run a method in one transaction: arguments, results and the `paid` flag."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from claude_relay.services.transactions import query, transaction


class FakeStore:
    """Runs functions at once, and records the kind of each transaction."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bool]] = []
        self.tx: Any = SimpleNamespace(skipped=[])

    def write(self, work: Callable[[Any], Any], *, paid: bool = False, patient: bool = False, ahead: Any = None) -> Any:
        self.log.append(("write", paid))
        return work(self.tx)

    def read(self, look: Callable[[Any], Any]) -> Any:
        self.log.append(("read", False))
        return look(self.tx)


class UseCase:
    def __init__(self) -> None:
        self._store = FakeStore()

    @transaction
    def save(self, tx: Any, name: str, *, size: int = 1) -> tuple[Any, str, int]:
        """Save a thing."""
        return tx, name, size

    @transaction(paid=True)
    def complete(self, tx: Any, name: str) -> tuple[Any, str]:
        return tx, name

    @query
    def find(self, tx: Any, name: str) -> tuple[Any, str]:
        return tx, name


def test_a_method_gets_the_transaction_before_the_arguments_of_the_caller() -> None:
    case = UseCase()

    assert case.save("a", size=2) == (case._store.tx, "a", 2)
    assert case.complete("b") == (case._store.tx, "b")
    assert case.find("c") == (case._store.tx, "c")
    assert case._store.log == [("write", False), ("write", True), ("read", False)]


def test_a_decorated_method_keeps_its_name_and_docstring() -> None:
    assert (UseCase.save.__name__, UseCase.save.__doc__) == ("save", "Save a thing.")
