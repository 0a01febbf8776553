"""From any released schema to the present one: numbered SQL files, each applied whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ..errors import StoreRefused


@dataclass(frozen=True)
class Step:
    """One migration: `0001_first.sql` is number 1."""

    number: int
    name: str
    sql: str


@cache
def steps(engine: str) -> Sequence[Step]:
    """The migrations of an engine, in order."""
    found = []
    for file in resources.files(__package__).joinpath(engine, "migrations").iterdir():
        if match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            found.append(Step(int(match[1]), match[2], file.read_text(encoding="utf-8")))

    return tuple(sorted(found, key=lambda step: step.number))


def latest(engine: str) -> int:
    """The schema that this version of the code speaks."""
    return steps(engine)[-1].number


def missing(engine: str, have: int, *, where: str) -> Sequence[Step]:
    """
    What is left to apply to a store at schema `have` (0: empty).

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
    """Apply each with its number, inside the transaction that the caller holds open."""
    for step in todo:
        run(step.sql)
        stamp(step.number)
