"""Schema migrations: numbered SQL files for each engine, applied in order in one transaction."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.lazy_dataclass import dataclass
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
    return _on_disk(engine)


def latest(engine: str) -> int:
    """The schema version of this version of the code."""
    return max(_numbers(engine))


def missing(engine: str, have: int, *, where: str) -> Sequence[Step]:
    """
    The migrations that a store at schema version `have` (0: empty) lacks.

    Raises `StoreRefused` for a store that a newer version of claude-relay has migrated.
    """
    newest = steps(engine)[-1].number
    if have > newest:
        raise StoreRefused(
            f"the store {where} has schema {have}; this version of claude-relay knows up to {newest}. It was used by a "
            f"newer version: install that again, or restore a backup made before the upgrade."
        )

    return [step for step in steps(engine) if step.number > have]


def misfit(engine: str, problem: str, *, where: str, have: int | None = None) -> StoreRefused:
    """The error for a statement that does not fit the tables of the store, which is at schema version `have`."""
    if _replaced(engine):
        return StoreRefused(
            f"claude-relay was upgraded under this running process, and the store {where} has other tables than it "
            f"expects ({problem}). The store is intact: restart this process. Under systemd: "
            f"systemctl restart claude-relay-api claude-relay-worker"
        )
    try:
        missing(engine, have or 0, where=where)
    except StoreRefused as newer:
        return newer
    return StoreRefused(
        f"the tables of the store {where} are not those of this version of claude-relay ({problem}): another version "
        f"has made or changed them, they were changed by hand, or a restore was incomplete. Run the version that made "
        f"the store, or restore a backup of this version."
    )


def apply(todo: Sequence[Step], run: Callable[[str], None], stamp: Callable[[int], None]) -> None:
    """Apply each migration with its number, inside the transaction that the caller holds open."""
    for step in todo:
        run(step.sql)
        stamp(step.number)


def _on_disk(engine: str) -> Sequence[Step]:
    migrations = [
        Step(number, file.stem.partition("_")[2], file.read_text(encoding="utf-8"))
        for number, file in _files(engine).items()
    ]

    return tuple(sorted(migrations, key=lambda step: step.number))


@functools.cache
def _numbers(engine: str) -> Sequence[int]:
    return tuple(_files(engine))


def _files(engine: str) -> dict[int, Path]:
    """The files of the migrations, by their numbers."""
    files = (Path(__file__).parent / engine / "migrations").iterdir()

    return {int(match[1]): file for file in files if (match := re.fullmatch(r"(\d{4})_\w+\.sql", file.name))}


def _replaced(engine: str) -> bool:
    """Whether the migrations on disk are no longer those that this process has read."""
    try:
        return _on_disk(engine) != steps(engine)
    except FileNotFoundError:
        return True
    except OSError:  # this user cannot read our files
        return False
