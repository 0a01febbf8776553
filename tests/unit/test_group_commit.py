"""Who writes at once shares a commit: how the writer's thread gathers, over an engine that only counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from claude_relay.storage import group_commit as module
from claude_relay.storage.group_commit import GroupCommitWriter
from tests.support.eventually import eventually

_LONG = 30.0


class Counts:
    """An engine: knows how many works each commit held, and stops in the middle of one while told to."""

    constraint_errors = ()

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self._works = 0

    def begin(self) -> None:
        self._works = 0

    def commit(self, rest: Any) -> None:
        assert self.open.wait(_LONG)
        self.commits.append(self._works)

    def work(self, tx: Any) -> None:
        """What each caller hands in."""
        self._works += 1

    def now(self) -> float:
        return 0.0

    def rollback(self) -> None: ...

    def run(self, sql: str, args: Any) -> Any: ...

    def add(self, new: Any) -> None: ...

    def after_commit(self) -> None: ...


@pytest.fixture
def engine() -> Counts:
    return Counts()


@pytest.fixture
def writer(engine: Counts) -> Iterator[GroupCommitWriter]:
    writer = GroupCommitWriter(engine, None)
    yield writer
    engine.open.set()
    writer.close()


def _come(writer: GroupCommitWriter, engine: Counts, count: int) -> list[threading.Thread]:
    """So many callers, each of whom waits for its answer in a thread of its own."""
    callers = [threading.Thread(target=writer.write, args=(engine.work,), daemon=True) for _ in range(count)]
    for caller in callers:
        caller.start()
    return callers


def _answered(callers: list[threading.Thread]) -> bool:
    for caller in callers:
        caller.join(_LONG)
    return not any(caller.is_alive() for caller in callers)


def _make_a_crowd(writer: GroupCommitWriter, engine: Counts, count: int) -> None:
    """All but one of them come while the first one's commit is under way, and are written together."""
    engine.open.clear()
    callers = _come(writer, engine, 1)
    eventually(lambda: engine._works == 1)
    callers += _come(writer, engine, count - 1)
    eventually(lambda: len(writer._queue) == count - 1)
    engine.open.set()
    assert _answered(callers)


def test_half_a_crowd_shares_a_commit(
    writer: GroupCommitWriter, engine: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crowd: whoever was answered last, and whoever came meanwhile. Its other half may still be on its way."""
    monkeypatch.setattr(module, "_GATHER", _LONG)
    engine.open.clear()
    callers = _come(writer, engine, 1)
    eventually(lambda: engine._works == 1)
    callers += _come(writer, engine, 4)
    eventually(lambda: len(writer._queue) == 4)
    engine.open.set()
    assert _answered(callers[:1])
    assert _answered(callers)
    engine.open.clear()
    callers = _come(writer, engine, 2)  # half of the four
    eventually(lambda: engine._works == 2)
    meanwhile = _come(writer, engine, 1)
    eventually(lambda: len(writer._queue) == 1)
    engine.open.set()
    assert _answered(callers)
    assert _answered(meanwhile + _come(writer, engine, 1))  # half of these three

    assert engine.commits == [1, 4, 2, 2]


def test_a_crowd_that_has_gone_is_waited_for_once(
    writer: GroupCommitWriter, engine: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER", 0.01)
    _make_a_crowd(writer, engine, 4)
    assert _answered(_come(writer, engine, 1))
    monkeypatch.setattr(module, "_GATHER", 10 * _LONG)

    assert _answered(_come(writer, engine, 1))
    assert engine.commits[-2:] == [1, 1]


def test_who_writes_alone_waits_for_nobody(
    writer: GroupCommitWriter, engine: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER", 10 * _LONG)
    for _ in range(20):
        assert _answered(_come(writer, engine, 1))

    assert engine.commits == [1] * 20


def test_a_stop_waits_for_no_crowd_and_loses_nothing(
    writer: GroupCommitWriter, engine: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was handed in is written, though the others have not come."""
    monkeypatch.setattr(module, "_GATHER", 0.01)
    _make_a_crowd(writer, engine, 4)
    monkeypatch.setattr(module, "_GATHER", 10 * _LONG)
    waiting = _come(writer, engine, 1)
    eventually(lambda: len(writer._queue) == 1)
    writer.close()

    assert _answered(waiting)
    assert sum(engine.commits) == 5
