"""A store that detects a step of the wall clock and moves relative times along before the next write."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..core import clock_step
from ..core.clock_step import ClockReference, Clocks
from ..errors import StoreUnavailable

if TYPE_CHECKING:
    from typing import Unpack

    from ..ports import Ahead, LostStore, ReadTransaction, Store, Transaction, WriteOptions

T = TypeVar("T")
#: The result of a write, the reference that it stored, and the seconds by which it moved the rows.
_Stepped = tuple[T, ClockReference | None, float]

STATE_KEY = "clock"
#: The reference is stored this often, in seconds: for the next boot of the machine.
_STORE_EVERY = 60.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STEADY = getattr(time, "CLOCK_BOOTTIME", None)  # runs on while the machine sleeps, as the wall clock does


class ClockStepStore:
    """
    Implements `ports.Store` over another store.

    Every process compares both clocks at each write, so that all rows use the same time base. The store holds the
    agreed reference: of several processes, one moves the rows.
    """

    def __init__(
        self,
        store: Store,
        read_clocks: Callable[[], Clocks],
        *,
        on_step: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._store, self._clocks, self._on_step = store, read_clocks, on_step
        self._agreed: ClockReference | None = None
        self._unstepped: Transaction | None = None  # the transaction for whose time no step had to be checked

    def write(self, work: Callable[[Transaction], T], **options: Unpack[WriteOptions]) -> T:
        """As the store's own, after a check for a clock step."""
        return self._agree(self._store.write(self._checked(work), **options))

    def write_later(
        self, work: Callable[[Transaction], T], done: Callable[[T | None, BaseException | None], None], *, ahead: Ahead
    ) -> None:
        """As the store's own, after a check for a clock step."""

        def agreed(stepped: _Stepped[T] | None, fault: BaseException | None) -> None:
            done(None if stepped is None else self._agree(stepped), fault)

        self._store.write_later(self._checked(work), agreed, ahead=ahead)

    def clock(self) -> float:
        """That of the store."""
        return self._store.clock()

    def _checked(self, work: Callable[[Transaction], T]) -> Callable[[Transaction], _Stepped[T]]:
        def checked(tx: Transaction) -> _Stepped[T]:
            if tx is self._unstepped:
                return work(tx), None, 0.0  # writes that share a transaction share its time
            now = self._clocks()
            if self._is_fresh(now) or abs(now.wall - tx.now) > clock_step.MIN_STEP:
                # A clock set after `tx.now` was read: this write still uses the old time base, and the next one moves
                # the rows.
                self._unstepped = tx
                return work(tx), None, 0.0
            moved, agreed = apply_step(tx, now)
            return work(tx), agreed, moved

        return checked

    def _agree(self, stepped: _Stepped[T]) -> T:
        result, agreed, moved = stepped
        if agreed is not None:
            self._agreed = agreed  # only after the commit: a rollback agrees to nothing
        if moved:
            self._on_step(moved)

        return result

    def read(self, look: Callable[[ReadTransaction], T]) -> T:
        """As the store's own, after a clock step since the last write was applied, if the store can be written."""
        if self._agreed is not None and clock_step.was_set(self._agreed, self._clocks()):
            with contextlib.suppress(StoreUnavailable):
                self.write(lambda tx: None)

        return self._store.read(look)

    def check(self, *, deep: bool = False) -> str | None:
        """As the store's own."""
        return self._store.check(deep=deep)

    def lost(self) -> LostStore | None:
        """As the store's own."""
        return self._store.lost()

    def scrub(self) -> None:
        """As the store's own."""
        self._store.scrub()

    def give_back(self, limit: int) -> bool:
        """As the store's own."""
        return self._store.give_back(limit)

    def backup(self, target: Path) -> None:
        """As the store's own."""
        self._store.backup(target)

    def close(self) -> None:
        """As the store's own."""
        self._store.close()

    def _is_fresh(self, now: Clocks) -> bool:
        """Whether the store need not be read: the clocks run in step, and the stored reference is recent."""
        agreed = self._agreed
        if agreed is None or now.steady - agreed.steady > _STORE_EVERY:
            return False

        return not clock_step.was_set(agreed, now)


def apply_step(tx: Transaction, now: Clocks) -> tuple[float, ClockReference]:
    """Compare the clocks with the stored reference and shift the rows; returns the seconds and the new reference."""
    stored = clock_step.from_memo(tx.shared_value(STATE_KEY))
    moved, agreed = clock_step.detect_step(stored, now)
    if moved:
        tx.shift_times(moved)
    tx.set_shared_value(STATE_KEY, clock_step.as_memo(agreed))

    return moved, agreed


def cutoff(tx: ReadTransaction, seconds: float) -> float:
    """The wall-clock time that many seconds ago, not counting the jumps of a clock that was set ahead."""
    return clock_step.retention_cutoff(clock_step.from_memo(tx.shared_value(STATE_KEY)), now=tx.now, keep=seconds)


def read_clocks() -> Clocks:
    """Both clocks of this machine at one moment: a process that is suspended in between reads again."""
    while True:
        started = _steady()
        wall = time.time()
        steady = _steady()
        if steady - started < 0.1:
            return Clocks(wall=wall, steady=steady, boot=_BOOT)


def _steady() -> float:
    return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)


def _boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"process {uuid.uuid4()}"  # two boots of this machine cannot be told apart


_BOOT = _boot()
