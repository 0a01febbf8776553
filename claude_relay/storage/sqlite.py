"""
The embedded engine: one SQLite file, through `apsw` for a SQLite that is free of the WAL-reset bug.

One thread writes. Whoever has something to write hands it a function and waits; all that have queued up meanwhile go
into one transaction, each in a savepoint of its own, and share one commit and one fsync. A function that fails undoes
only itself. Reads use connections of their own and never wait for the writer.
"""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from ..errors import StoreUnavailable
from ..ports import Unit, View
from . import backup, gate, migrate
from .additions import Additions
from .ballast import Ballast
from .faults import plainly, translate
from .sealed import Seal, key_path
from .unit import Writes
from .view import Reads

T = TypeVar("T")
_Work = tuple[Callable[[Unit], Any], "_Done", bool]
_Answer = tuple[Any, "BaseException | None"]
_Write = Callable[[apsw.Connection, Callable[[Unit], Any], Additions], _Answer]

#: How long a write waits for another process's, in seconds: a caller at the door must not wait for much more.
_PATIENCE = 2.5
#: How many writes share a commit at most.
_GROUP = 256
_IDLE_READERS = 32
#: Where several write at once, the next commit waits for as many again: so many looks, so many seconds apart.
_LOOKS, _GATHER = 8, 0.0005


class SqliteStore:
    """Implements `ports.Store`. Opening it checks the file, brings it to the present schema and starts the writer."""

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        ballast: Ballast | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._ballast = ballast
        self._create = create
        self._clock = clock
        self._seal = Seal(key_path(path))
        self._readers: queue.LifoQueue[apsw.Connection] = queue.LifoQueue()
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._door = threading.Lock()
        with plainly(path):
            self._writing = self._open()
        self._writer = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._writer.start()

    def write(self, work: Callable[[Unit], T], *, paid: bool = False) -> T:
        """
        Run `work` in a transaction and answer what it answers, once it is on disk.

        `paid`: it keeps what was paid for, so that on a full disk the ballast may make room for it.

        Raises whatever `work` raises (nothing of it is kept then), `StoreUnavailable` when the store is locked, full
        or closed, `StoreRefused` when it is corrupt.
        """
        done = _Done()
        with self._door:  # nothing is handed in behind the writer's back once it was told to stop
            if self._closed.is_set():
                raise StoreUnavailable("the store is closed: this process is stopping")
            self._work.put((work, done, paid))
        answer: T = done.result()

        return answer

    def read(self, look: Callable[[View], T]) -> T:
        """Run `look` on a consistent view of what is committed."""
        with plainly(self._path), self._reader() as connection:
            connection.execute("BEGIN")
            try:
                return look(Reads(_runner(connection), self._clock(), self._seal))
            finally:
                connection.execute("COMMIT")

    def check(self) -> str | None:
        """What is wrong with the file, or None. Reads all of it."""
        with plainly(self._path), self._reader() as connection:
            said = connection.execute("PRAGMA quick_check(1)").get

        return None if said == "ok" else str(said)

    def forget(self) -> None:
        """Empty the write-ahead log into the file, so that what was erased stands in neither, if nobody reads now."""
        with plainly(self._path), self._reader() as connection:
            connection.pragma("query_only", False)
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.pragma("query_only", True)

    def backup(self, target: Path) -> None:
        """
        A consistent copy, taken while work goes on; on disk when this returns.

        Raises `Conflict` where there is a file already, `StoreUnavailable` when it cannot be written.
        """
        with self._reader() as connection:
            backup.write_copy(connection, target)

    def close(self) -> None:
        """Finish what has been handed in, and close. May be called twice."""
        with self._door:
            if self._closed.is_set():
                return
            self._closed.set()
            self._work.put(None)
        self._writer.join()
        while not self._readers.empty():
            self._readers.get().close()
        self._writing.close()

    def _open(self) -> apsw.Connection:
        path = self._path
        if not self._create and not path.exists() and not gate.identity_path(path).exists():
            raise StoreUnavailable(
                f"there is no store at {path} yet. Start the relay (claude-relay serve), or name another: RELAY_STORE."
            )
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with _alone(path):
            gate.admit(path)
            # Made by us first, for the mode: SQLite gives the same to -wal and -shm. The umask says who besides us.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o660))
            connection = self._connect()
            if gate.wal_is_safe(apsw.sqlite_lib_version()):
                connection.pragma("journal_mode", "wal")
                connection.pragma("synchronous", "full")
            else:
                connection.pragma("journal_mode", "truncate")
                connection.pragma("synchronous", "extra")
            connection.pragma("journal_size_limit", 64 * 1024 * 1024)
            _migrate(connection, path)
            known = connection.execute("SELECT value FROM meta WHERE key = 'identity'").get
            gate.match_identity(path, known)

        return connection

    def _connect(self, *, flags: int = apsw.SQLITE_OPEN_READWRITE) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), flags=flags)
        connection.set_busy_timeout(int(_PATIENCE * 1000))
        connection.pragma("foreign_keys", True)
        connection.pragma("secure_delete", True)  # what is purged is gone from the file
        connection.pragma("temp_store", "memory")

        return connection

    @contextmanager
    def _reader(self) -> Iterator[apsw.Connection]:
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
            connection.pragma("query_only", True)
        try:
            yield connection
        finally:
            if self._closed.is_set() or self._readers.qsize() >= _IDLE_READERS:
                connection.close()
            else:
                self._readers.put(connection)

    def _write_all(self) -> None:
        """The writer thread: until it is told to stop, and all that was handed in before is done."""
        crowd = 1
        while (first := self._work.get()) is not None:
            group = [first]
            self._gather(crowd - 1)
            while len(group) < _GROUP and not self._work.empty():
                if (another := self._work.get()) is None:
                    self._work.put(None)
                    break
                group.append(another)
            self._write_group(group)
            crowd = len(group)

    def _gather(self, expected: int) -> None:
        """
        Wait a little until `expected` more are there: as many as shared the last commit.

        Callers that were answered together come again together. A commit has a cost of its own, so all of them in one
        are cheaper than in three (*measured*: 16 connections, groups of 16 rather than 6, a tenth more 202s). Who
        writes alone never waits, and a crowd that has gone is waited for once.
        """
        for _ in range(_LOOKS):
            if self._work.qsize() >= expected or self._closed.is_set():
                return
            time.sleep(_GATHER)

    def _write_group(self, group: Sequence[_Work]) -> None:
        """
        One transaction for all; nobody hears of success before the commit.

        First without savepoints. If one of them fails, all are undone and run again, each in a savepoint of its own.
        """
        try:
            answers = self._with_ballast(group, self._write_plainly)
        except _Undone:
            try:
                answers = self._with_ballast(group, self._write_apart)
            except BaseException as exc:
                answers = [(None, translate(exc, self._path))] * len(group)
        except BaseException as exc:
            answers = [(None, translate(exc, self._path))] * len(group)
        for (_, done, _), (answer, fault) in zip(group, answers, strict=True):
            done.set(answer, fault)

    def _with_ballast(self, group: Sequence[_Work], write: _Write) -> list[_Answer]:
        """Where the disk is full and an answer was paid for, the room that was kept for it; then once more."""
        try:
            return self._transact(group, write)
        except apsw.FullError:
            if self._ballast is None or not any(paid for _, _, paid in group) or not self._ballast.drop():
                raise
            return self._transact(group, write)

    def _transact(self, group: Sequence[_Work], write: _Write) -> list[_Answer]:
        connection = self._writing
        connection.execute("BEGIN IMMEDIATE")
        try:
            additions = Additions(_runner(connection))
            answers = [write(connection, work, additions) for work, _, _ in group]
            try:
                additions.write()
            except apsw.ConstraintError as exc:
                raise _Undone from exc  # whose it is, the second run will tell
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

        return answers

    def _write_plainly(self, connection: apsw.Connection, work: Callable[[Unit], Any], additions: Additions) -> _Answer:
        try:
            return work(self._unit(connection, additions)), None
        except Exception as exc:
            if not connection.in_transaction:
                raise  # SQLite itself gave the whole transaction up: a full disk, an I/O error
            raise _Undone from exc

    def _write_apart(self, connection: apsw.Connection, work: Callable[[Unit], Any], additions: Additions) -> _Answer:
        connection.execute("SAVEPOINT one")
        try:
            answer = work(self._unit(connection, additions))
            additions.write()
        except Exception as exc:
            if not connection.in_transaction:
                raise
            additions.drop()
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
            return None, translate(exc, self._path)
        connection.execute("RELEASE one")

        return answer, None

    def _unit(self, connection: apsw.Connection, additions: Additions) -> Writes:
        plain = _runner(connection)

        def run(sql: str, args: Sequence[Any]) -> Sequence[Sequence[Any]]:
            additions.write()
            return plain(sql, args)

        return Writes(run, self._clock(), self._seal, additions)


class _Done:
    """Where one caller waits for its answer: a lock, which is cheaper than a Future at thousands a second."""

    __slots__ = ("_answer", "_fault", "_ready")

    def __init__(self) -> None:
        self._ready = threading.Lock()
        self._ready.acquire()
        self._answer: Any = None
        self._fault: BaseException | None = None

    def set(self, answer: Any, fault: BaseException | None) -> None:
        self._answer, self._fault = answer, fault
        self._ready.release()

    def result(self) -> Any:
        self._ready.acquire()
        if self._fault is not None:
            raise self._fault
        return self._answer


class _Undone(Exception):
    """One of a group failed, and took the others back with it."""


def sqlite_version() -> tuple[str, bool]:
    """The SQLite that is linked, and whether its WAL may be trusted."""
    version = apsw.sqlite_lib_version()

    return version, gate.wal_is_safe(version)


def _migrate(connection: apsw.Connection, path: Path) -> None:
    have = connection.pragma("user_version")
    if not (todo := migrate.missing("sqlite", have, where=str(path))):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrate.apply(todo, lambda sql: _run_script(connection, sql), lambda n: _stamp(connection, n))
        if have == 0:
            sql = "INSERT INTO meta (key, value) VALUES ('identity', ?)"
            connection.execute(sql, (gate.new_identity(),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run_script(connection: apsw.Connection, sql: str) -> None:
    for _ in connection.execute(sql):
        pass


def _stamp(connection: apsw.Connection, number: int) -> None:
    connection.execute(f"PRAGMA user_version = {number:d}")


def _runner(connection: apsw.Connection) -> Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]:
    def run(sql: str, args: Sequence[Any]) -> Sequence[Sequence[Any]]:
        return connection.execute(sql, tuple(args)).fetchall()

    return run


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time creates and migrates: the switch to WAL does not wait for a busy file."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o660)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
