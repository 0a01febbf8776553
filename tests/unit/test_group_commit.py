"""Grouping of concurrent writes into commits, with an engine that only counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from claude_relay.errors import StoreUnavailable
from claude_relay.storage import group_commit as module
from claude_relay.storage.group_commit import GroupCommitWriter
from tests.support.eventually import eventually

_LONG = 30.0


class CountingSession:
    """A session that counts the functions of each commit, and can block in the middle of one."""

    constraint_errors = ()
    refuses_used_ids = False

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.waits = 0.0  # for other processes
        self._works = 0

    def waited(self) -> float:
        return self.waits

    def begin(self, lookups: Any) -> Any:
        self._works = 0
        return ()

    def commit(self, rest: Any, numbers: Any) -> None:
        assert self.open.wait(_LONG)
        self.commits.append(self._works)

    def work(self, tx: Any) -> None:
        """The function of each caller."""
        self._works += 1

    def now(self) -> float:
        return 0.0

    def rollback(self) -> None: ...

    def run(self, sql: str, args: Any) -> Any: ...

    def add(self, new: Any) -> None: ...

    def after_commit(self) -> None: ...

    def verify(self) -> None: ...

    def try_recover(self, fault: BaseException, *, paid: bool) -> bool:
        return False

    def translate(self, fault: BaseException) -> BaseException:
        return fault


@pytest.fixture
def engine() -> CountingSession:
    return CountingSession()


@pytest.fixture
def writer(engine: CountingSession) -> Iterator[GroupCommitWriter]:
    writer = GroupCommitWriter(engine, None)
    yield writer
    engine.open.set()
    writer.close()


def _start_callers(writer: GroupCommitWriter, engine: CountingSession, count: int) -> list[threading.Thread]:
    """Start callers that wait for their results in threads of their own."""
    callers = [threading.Thread(target=writer.write, args=(engine.work,), daemon=True) for _ in range(count)]
    for caller in callers:
        caller.start()
    return callers


def _answered(callers: list[threading.Thread]) -> bool:
    for caller in callers:
        caller.join(_LONG)
    return not any(caller.is_alive() for caller in callers)


def _commit_together(writer: GroupCommitWriter, engine: CountingSession, count: int) -> None:
    """Write with that many callers: all but the first come during its commit, and share the next one."""
    engine.open.clear()
    callers = _start_callers(writer, engine, 1)
    eventually(lambda: engine._works == 1)
    callers += _start_callers(writer, engine, count - 1)
    eventually(lambda: len(writer._queue) == count - 1)
    engine.open.set()
    assert _answered(callers)


def test_half_of_the_callers_share_a_commit(
    writer: GroupCommitWriter, engine: CountingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expected are as many callers as were answered last or came meanwhile; half of them may still be on their way."""
    monkeypatch.setattr(module, "_GATHER", _LONG)
    engine.open.clear()
    callers = _start_callers(writer, engine, 1)
    eventually(lambda: engine._works == 1)
    callers += _start_callers(writer, engine, 4)
    eventually(lambda: len(writer._queue) == 4)
    engine.open.set()
    assert _answered(callers[:1])
    assert _answered(callers)
    engine.open.clear()
    callers = _start_callers(writer, engine, 2)  # half of the four
    eventually(lambda: engine._works == 2)
    meanwhile = _start_callers(writer, engine, 1)
    eventually(lambda: len(writer._queue) == 1)
    engine.open.set()
    assert _answered(callers)
    assert _answered(meanwhile + _start_callers(writer, engine, 1))  # half of these three

    assert engine.commits == [1, 4, 2, 2]


def test_each_group_is_acknowledged_by_its_own_commit(
    writer: GroupCommitWriter, engine: CountingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the queue, and after its commit; those of a group that fails get its error, and no others."""
    monkeypatch.setattr(module, "_MAX_GROUP", 13)
    handed: list[tuple[int, BaseException | None]] = []
    commits: list[list[int]] = []
    group: list[int] = []

    def write(number: int) -> None:
        writer.write_later(
            lambda tx: group.append(number), lambda _, fault: handed.append((number, fault)), lambda reads: None
        )

    def commit(rest: Any, numbers: Any) -> None:
        assert engine.open.wait(_LONG)
        assert all(number not in dict(handed) for number in group)
        commits.append(group[:])
        group.clear()
        if len(commits) == 2:
            raise OSError

    engine.commit = commit
    engine.open.clear()
    write(0)
    eventually(lambda: group == [0])
    for number in range(1, 25):
        write(number)
    engine.open.set()
    writer.close()

    assert commits == [[0], list(range(1, 14)), list(range(14, 25))]
    assert [number for number, fault in handed if fault is None] == [0, *range(14, 25)]
    assert [number for number, fault in handed if isinstance(fault, OSError)] == list(range(1, 14))


def test_callers_that_do_not_return_are_waited_for_once(
    writer: GroupCommitWriter, engine: CountingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER", 0.01)
    _commit_together(writer, engine, 4)
    assert _answered(_start_callers(writer, engine, 1))
    monkeypatch.setattr(module, "_GATHER", 10 * _LONG)

    assert _answered(_start_callers(writer, engine, 1))
    assert engine.commits[-2:] == [1, 1]


def test_a_group_grows_while_other_processes_keep_the_lock_busy(
    writer: GroupCommitWriter, engine: CountingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for as long as it would wait for the lock, and asks for it once instead of twice."""
    monkeypatch.setattr(module, "_LONGEST", 0.2)
    _commit_together(writer, engine, 3)  # others write as well
    before, engine.waits = len(engine.commits), 1.0
    callers = _start_callers(writer, engine, 1)
    eventually(lambda: writer._queue or len(engine.commits) > before)
    callers += _start_callers(writer, engine, 5)
    assert _answered(callers)

    assert max(engine.commits[before:]) >= 5


def test_a_single_caller_never_waits(
    writer: GroupCommitWriter, engine: CountingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER", 10 * _LONG)
    for _ in range(20):
        assert _answered(_start_callers(writer, engine, 1))

    assert engine.commits == [1] * 20


def test_close_waits_for_no_other_callers_and_loses_nothing(
    writer: GroupCommitWriter, engine: CountingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queued functions are written although the expected callers have not come."""
    monkeypatch.setattr(module, "_GATHER", 0.01)
    _commit_together(writer, engine, 4)
    monkeypatch.setattr(module, "_GATHER", 10 * _LONG)
    waiting = _start_callers(writer, engine, 1)
    eventually(lambda: len(writer._queue) == 1)
    writer.close()

    assert _answered(waiting)
    assert sum(engine.commits) == 5


@pytest.mark.parametrize("crowd", [1.0, 8.0])
def test_writes_that_are_not_urgent_share_the_commit_of_others(
    writer: GroupCommitWriter, engine: CountingSession, crowd: float
) -> None:
    """They wait for one that is urgent where several callers write, and for none where one writes alone."""
    writer._patience = _LONG
    writer._crowd = crowd
    patient = threading.Thread(target=writer.write, args=(engine.work,), kwargs={"patient": True}, daemon=True)
    patient.start()
    if crowd > 1:
        eventually(lambda: writer._yielding)
    else:
        patient.join(_LONG)
    writer.write(engine.work)
    patient.join(_LONG)

    assert engine.commits == ([2] if crowd > 1 else [1, 1])


def test_enough_writes_that_are_not_urgent_wait_no_longer(writer: GroupCommitWriter, engine: CountingSession) -> None:
    """They are committed together."""
    writer._patience = _LONG
    writer._crowd = 8.0
    count = module._ENOUGH
    callers = [
        threading.Thread(target=writer.write, args=(engine.work,), kwargs={"patient": True}, daemon=True)
        for _ in range(count)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(_LONG)

    assert engine.commits == [count]


def test_a_write_that_nobody_waits_for_is_handed_over_after_the_commit(
    writer: GroupCommitWriter, engine: CountingSession
) -> None:
    """Its result, or its error; a function that raises on getting it stops neither the others nor the writer."""
    handed: list[Any] = []
    all_of_them = threading.Event()

    def done(value: Any, fault: BaseException | None) -> None:
        handed.append((value, fault, len(engine.commits)))
        if len(handed) == 3:
            all_of_them.set()
        raise ValueError

    for _ in range(3):
        writer.write_later(engine.work, done, lambda reads: None)
    assert all_of_them.wait(_LONG)
    writer.write(engine.work)
    writer.close()

    assert sum(engine.commits) == 4
    assert all(fault is None and commits >= 1 for _, fault, commits in handed)
    with pytest.raises(StoreUnavailable):
        writer.write_later(engine.work, done, lambda reads: None)
