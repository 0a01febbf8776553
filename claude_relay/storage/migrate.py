"""Schema migrations: numbered SQL files for each engine, applied in order in one transaction."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

from ..errors import StoreRefused


@dataclass(frozen=True)
class Step:
    """A migration: `0001_first.sql` has number 1."""

    number: int
    name: str
    sql: str


@functools.cache
def steps(engine: str) -> Sequence[Step]:
    """
    The migrations of an engine, in order.

    Read once: a later caller may run as a user who cannot read our files.
    """
    files = resources.files(__package__).joinpath(engine, "migrations").iterdir()
    migrations = [
        Step(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in files
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    ]

    return tuple(sorted(migrations, key=lambda step: step.number))


def latest(engine: str) -> int:
    """The schema version of this version of the code."""
    return steps(engine)[-1].number


def missing(engine: str, have: int, *, where: str) -> Sequence[Step]:
    """
    The migrations that a store at schema version `have` (0: empty) lacks.

    Raises `StoreRefused` for a store that a newer version of claude-relay has migrated.
    """
    newest = latest(engine)
    if have > newest:
        raise StoreRefused(
            f"the store {where} has schema {have}; this version of claude-relay knows up to {newest}. It was used by a "
            f"newer version: install that again, or restore a backup made before the upgrade."
        )

    return [step for step in steps(engine) if step.number > have]


def apply(todo: Sequence[Step], run: Callable[[str], None], stamp: Callable[[int], None]) -> None:
    """Apply each migration with its number, inside the transaction that the caller holds open."""
    for step in todo:
        run(step.sql)
        stamp(step.number)
