"""
Group commit: one thread writes, on every engine.

Callers pass a function and wait. All functions that were queued meanwhile run in one transaction and share one commit.
A function that fails undoes only itself.
"""

from __future__ import annotations

import logging
import math
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import StoreUnavailable
from ..ports import Ahead, Transaction
from .folding import fold
from .sql.announcements import announced
from .sql.insert_buffer import InsertBuffer, NewRows
from .sql.lookahead import FetchedRows, Lookup, has_key
from .sql.writes import Writes

if TYPE_CHECKING:
    from .header_encryption import HeaderCipher
    from .sql.query import Rows

T = TypeVar("T")
log = logging.getLogger(__name__)
_Done = Callable[[Any, "BaseException | None"], None]
_Work = tuple[Callable[[Transaction], Any], _Done, bool, Sequence[Lookup]]
_Outcome = tuple[Any, "BaseException | None"]
_Execute = Callable[[Callable[[Transaction], Any], Transaction, InsertBuffer], _Outcome]

#: The most writes that share a commit.
_MAX_GROUP = 256
#: With several writers, how long the first one waits for the others, in seconds.
_GATHER = 0.008
#: How long writes that are not urgent wait for others at a distant server, in seconds, and how many wait no longer.
_PATIENCE, _ENOUGH = 0.02, 16
_FADE = 0.9
#: From such a wait for the lock on, in seconds, a group waits as long for more functions, and the longest such wait.
_BUSY, _LONGEST = 0.003, 0.02
#: The rows of `tallies`, and the parts of `costs`, are folded after this many commits of a process.
_FOLD_EVERY, _COMMITS_A_PART = 256, 64
#: Groups in which each id is looked up, after one that failed: repeats come together, and each would cost two runs.
_CAREFUL = 64


class Session(Protocol):
    """The connection of an engine that writes, used by the writer's thread alone."""

    #: The database's errors for refused rows: the group is then run again to find the function they belong to.
    constraint_errors: tuple[type[BaseException], ...]
    #: Whether new jobs are refused, as by a constraint, where a requestId was used before; not after `savepoint`.
    refuses_used_ids: bool

    def begin(self, lookups: Sequence[Lookup]) -> Sequence[Rows]:
        """
        Begin a transaction, which excludes other writers from its first statement on; returns the rows of `lookups`.

        Writes without an answer to read may be sent as late as with the commit: an UPDATE that ends in `RETURNING 1`
        must then find its row, or the commit raises one of `constraint_errors`. Not after `savepoint`.
        """

    def waited(self) -> float:
        """Seconds that the last transactions waited for writers of other processes; 0 where that is not known."""

    def look_up(self, lookups: Sequence[Lookup]) -> Sequence[Rows]:
        """The rows of several look-ups at once; none where that gains nothing."""

    def commit(self, rest: Sequence[NewRows], numbers: Sequence[Sequence[Any]]) -> None:
        """Write those new jobs and rows of `tallies`, and commit; returns once all of it is durable."""

    def rollback(self) -> None:
        """Roll back, if the transaction is still open."""

    def is_open(self) -> bool:
        """Whether the transaction is still usable after an error, or was given up by the database."""

    def savepoint(self) -> None:
        """Set a savepoint, so that one function's work can be undone alone."""

    def rollback_to(self) -> None:
        """Roll back to the savepoint."""

    def release(self) -> None:
        """Release the savepoint."""

    def run(self, sql: str, args: Sequence[Any]) -> Rows:
        """Run a statement."""

    def add(self, new: Sequence[NewRows]) -> None:
        """Insert new jobs before other statements."""

    def now(self) -> float:
        """The time of the transaction."""

    def try_recover(self, fault: BaseException, *, paid: bool) -> bool:
        """Remove the cause of an error, if possible; True if the transaction may be run again at once."""

    def translate(self, fault: BaseException) -> BaseException:
        """The error for the caller."""

    def verify(self) -> BaseException | None:
        """After a commit: why it might not be found again, if so. Results that were paid for ignore it."""

    def after_commit(self) -> None:
        """Work to do once all callers have their results. Raises nothing."""


class GroupCommitWriter:
    """Runs functions in groups through one `Session`, in a thread of its own."""

    def __init__(self, session: Session, cipher: HeaderCipher, *, patience: float = _PATIENCE) -> None:
        self._session = session
        self._cipher, self._patience = cipher, patience
        self._lock = threading.Lock()  # guards the next five
        self._queue: list[_Work] = []
        self._urgent = 0  # the number of those in the queue that are
        self._yielding = False  # whether the writer's thread waits for one of those
        self._wake_at = math.inf  # this queue length wakes the writer's thread; infinite while that works
        self._closed = False
        self._wakeup = threading.Lock()  # held except to wake the writer's thread
        self._wakeup.acquire()
        self._last_group = 1
        self._crowd = 1.0  # the largest of the last groups, of which older ones count less
        self._groups = self._careful_until = 0
        self._name = uuid.uuid4().hex[:12]
        self._thread = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._thread.start()

    def write(
        self,
        work: Callable[[Transaction], T],
        *,
        paid: bool = False,
        patient: bool = False,
        ahead: Ahead | None = None,
    ) -> T:
        """Run `work` in a transaction and return its result once it is durable: see `ports.Store`."""
        result = _Result()
        self._enqueue(work, result.set, paid=paid, patient=patient, ahead=ahead)
        value: T = result.wait()

        return value

    def write_later(
        self, work: Callable[[Transaction], T], done: Callable[[T | None, BaseException | None], None], ahead: Ahead
    ) -> None:
        """
        Run `work` as `write` does, and return at once.

        `done` gets its result once it is durable, or None and the error, in the writer's thread: it neither waits nor
        raises. Raises `StoreUnavailable` once closed.
        """
        self._enqueue(work, done, paid=False, patient=False, ahead=ahead)

    def _enqueue(
        self,
        work: Callable[[Transaction], Any],
        done: Callable[[Any, BaseException | None], None],
        *,
        paid: bool,
        patient: bool,
        ahead: Ahead | None,
    ) -> None:
        refuses = self._refuses_used_ids
        lookups = () if ahead is None else announced(ahead, self._cipher, refuses_used_ids=refuses)
        with self._lock:  # nothing is queued after the writer was told to stop
            if self._closed:
                raise StoreUnavailable("the store is closed: this process is stopping")
            self._queue.append((work, done, paid, lookups))
            self._urgent += not patient
            if len(self._queue) >= self._wake_at or (self._yielding and not patient and self._wake_at < math.inf):
                self._wake()

    @property
    def _refuses_used_ids(self) -> bool:
        return self._session.refuses_used_ids and self._groups >= self._careful_until

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Finish the queue and stop. May be called twice."""
        with self._lock:
            self._closed = True
            if self._wake_at < math.inf:
                self._wake()
        self._thread.join()

    def _write_all(self) -> None:
        """The writer's thread: runs until it is closed and its queue is empty."""
        while group := self._next_group():
            self._write_group(group)
            self._session.after_commit()
            self._groups += 1
            if self._groups % _FOLD_EVERY == 0:
                fold(self._session)
            self._last_group = len(group) + len(self._queue)
            self._crowd = max(self._last_group, self._crowd * _FADE)

    def _next_group(self) -> Sequence[_Work]:
        """
        The functions of the next commit, none once all is done. With many callers it waits for half of them.

        Callers that were answered together come back together, beside those that came meanwhile. A commit has a cost of
        its own, so that few large ones are cheaper than many small ones; but while all callers wait for one commit, no
        request is read. So one half is written while the other is on its way (*measured*, 16 connections, 202s a
        second: 1,163 where three quarters were waited for, 1,189 at two thirds, 1,252 at a half). A single caller never
        waits, and callers that do not come back are waited for once.
        """
        self._wait_for(1)
        busy = 0.0
        if self._crowd >= 2:  # others write as well
            self._wait_for_urgent()
            busy = self._session.waited()
        if busy >= _BUSY:  # one large group keeps others off the lock for less time
            self._wait_for(_MAX_GROUP, at_most=min(busy, _LONGEST))
        else:
            self._wait_for(math.ceil(self._last_group / 2), at_most=_GATHER)
        with self._lock:
            group, self._queue = self._queue[:_MAX_GROUP], self._queue[_MAX_GROUP:]
            self._urgent = len(self._queue)

        # Their order is free. First those that look at whole tables: the others' writes would make them look again.
        return sorted(group, key=lambda work: -sum(not has_key(lookup) for lookup in work[3]))

    def _wait_for_urgent(self) -> None:
        """Sleep until an urgent function is queued, there are enough of the others, or time is up."""
        with self._lock:
            self._yielding = not self._urgent
        if self._yielding:
            self._wait_for(_ENOUGH, at_most=self._patience)
            with self._lock:
                self._yielding = False

    def _wait_for(self, count: int, *, at_most: float = -1) -> None:
        """Sleep until `count` functions are queued or no more will come: polling would take CPU from the callers."""
        with self._lock:
            if self._closed or len(self._queue) >= count or (self._yielding and self._urgent):
                return
            self._wake_at = count
        if self._wakeup.acquire(timeout=at_most):
            return
        with self._lock:
            woken, self._wake_at = self._wake_at == math.inf, math.inf
        if woken:  # at the last moment
            self._wakeup.acquire()

    def _wake(self) -> None:
        self._wake_at = math.inf
        self._wakeup.release()

    def _write_group(self, group: Sequence[_Work]) -> None:
        """Run a group in one transaction, once more with savepoints if a function fails; results follow the commit."""
        try:
            outcomes = self._transact_or_recover(group, self._execute)
        except _GroupFailed:
            self._careful_until = self._groups + _CAREFUL
            try:
                outcomes = self._transact_or_recover(group, self._execute_in_savepoint)
            except BaseException as exc:
                outcomes = [(None, self._session.translate(exc))] * len(group)
        except BaseException as exc:
            outcomes = [(None, self._session.translate(exc))] * len(group)
        lost = self._session.verify()
        for (_, done, paid, _), (value, fault) in zip(group, outcomes, strict=True):
            error = fault or (None if paid else lost)
            try:
                done(None if error is not None else value, error)
            except Exception:
                log.exception("a result of a write could not be handed over")

    def _transact_or_recover(self, group: Sequence[_Work], execute: _Execute) -> list[_Outcome]:
        """Run the transaction, once more if the engine could remove the cause of an error."""
        try:
            return self._transact(group, execute)
        except _GroupFailed:
            raise
        except Exception as exc:
            if not self._session.try_recover(exc, paid=any(paid for _, _, paid, _ in group)):
                raise
            return self._transact(group, execute)

    def _transact(self, group: Sequence[_Work], execute: _Execute) -> list[_Outcome]:
        session = self._session
        together = execute == self._execute
        lookups = list(dict.fromkeys(lookup for *_, ahead in group for lookup in ahead)) if together else []
        rows = session.begin(lookups)
        try:
            now = session.now()  # one time for all
            fetched = FetchedRows(now)
            fetched.put(lookups, rows)
            new_jobs = InsertBuffer(session.run, session.add, fetched, part=self._part())
            tx = Writes(new_jobs.run_after_flush, now, self._cipher, new_jobs, self._prefetcher(new_jobs, fetched))
            tx.refuses_used_ids = together and self._refuses_used_ids
            outcomes = [execute(work, tx, new_jobs) for work, *_ in group]
            try:
                new_jobs.flush_rest()
                rest = new_jobs.drain()
                session.commit(rest, new_jobs.drain_changes())
            except session.constraint_errors as exc:
                if not together:
                    raise
                raise _GroupFailed from exc  # the second run tells which function it was
        except BaseException:
            session.rollback()
            raise

        return outcomes

    def _part(self) -> str:
        """
        The part of the sums of costs that this process writes now: another one after some commits.

        While another client of PostgreSQL has a snapshot open, every version of a row stays, and an UPDATE passes over
        all of them.
        """
        return f"{self._name}.{self._groups // _COMMITS_A_PART}"

    def _prefetcher(self, new_jobs: InsertBuffer, fetched: FetchedRows) -> Callable[[Ahead], None]:
        def prefetch(ahead: Ahead) -> None:
            new_jobs.flush()
            lookups = [look for look in dict.fromkeys(announced(ahead, self._cipher)) if fetched.recall(*look) is None]
            if rows := self._session.look_up(lookups):
                fetched.put(lookups, rows)

        return prefetch

    def _execute(self, work: Callable[[Transaction], Any], tx: Transaction, new_jobs: InsertBuffer) -> _Outcome:
        try:
            return work(tx), None
        except Exception as exc:
            if not self._session.is_open():
                raise  # the database gave up the whole transaction: a full disk, an I/O error, a lost server
            raise _GroupFailed from exc

    def _execute_in_savepoint(
        self, work: Callable[[Transaction], Any], tx: Transaction, new_jobs: InsertBuffer
    ) -> _Outcome:
        session = self._session
        session.savepoint()
        try:
            value = work(tx)
            new_jobs.flush()
            new_jobs.flush_changes()
            new_jobs.flush_rest()
        except Exception as exc:
            if not session.is_open():
                raise
            new_jobs.drop()
            session.rollback_to()
            session.release()
            return None, session.translate(exc)
        session.release()

        return value, None


class _Result:
    """The result that one caller waits for. A lock is cheaper than a Future at thousands per second."""

    __slots__ = ("_fault", "_ready", "_value")

    def __init__(self) -> None:
        self._ready = threading.Lock()
        self._ready.acquire()
        self._value: Any = None
        self._fault: BaseException | None = None

    def set(self, value: Any, fault: BaseException | None) -> None:
        self._value, self._fault = value, fault
        self._ready.release()

    def wait(self) -> Any:
        self._ready.acquire()
        if self._fault is not None:
            raise self._fault
        return self._value


class _GroupFailed(Exception):
    """A function of the group failed, and all of them were rolled back."""
