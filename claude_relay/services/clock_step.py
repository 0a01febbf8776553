"""A store that minds the clock: when the calendar is set, what is relative moves along before anything is written."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..core import clock_step
from ..core.clock_step import ClockReference, Clocks
from ..errors import StoreUnavailable
from ..ports import ReadTransaction, Store, Transaction

T = TypeVar("T")

STATE_KEY = "clock"
#: How often the time is noted in the store, in seconds: for the next start of the machine.
_NOTE = 60.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STEADY = getattr(time, "CLOCK_BOOTTIME", None)  # runs on while the machine sleeps, as the calendar does


class ClockStepStore:
    """
    Implements `ports.Store` over another.

    Every process looks at both clocks whenever it writes, so that no row is ever written by a calendar that the rows
    beside it do not know yet. The store holds what was agreed: of several processes one moves the rows.
    """

    def __init__(
        self, store: Store, read_clocks: Callable[[], Clocks], *, told: Callable[[float], None] = lambda seconds: None
    ) -> None:
        self._store, self._clocks, self._told = store, read_clocks, told
        self._agreed: ClockReference | None = None
        self._still_at: Transaction | None = None  # the transaction for whose time nothing had to be looked up

    def write(self, work: Callable[[Transaction], T], *, paid: bool = False) -> T:
        """As the store's own, with the calendar minded first."""

        def minded(tx: Transaction) -> tuple[T, ClockReference | None, float]:
            if tx is self._still_at:
                return work(tx), None, 0.0  # whoever shares a transaction shares its time
            now = self._clocks()
            if self._still(now) or abs(now.wall - tx.now) > clock_step.MIN_STEP:
                # Set since `unit.now` was read: this is still written by the calendar that the rows know. The next one.
                self._still_at = tx
                return work(tx), None, 0.0
            moved, agreed = apply_step(tx, now)
            return work(tx), agreed, moved

        answer, agreed, moved = self._store.write(minded, paid=paid)
        if agreed is not None:
            self._agreed = agreed  # only now: what was undone was not agreed
        if moved:
            self._told(moved)

        return answer

    def read(self, look: Callable[[ReadTransaction], T]) -> T:
        """As the store's own; a calendar that was set since the last write is minded first, if that can be done."""
        if self._agreed is not None and clock_step.was_set(self._agreed, self._clocks()):
            with contextlib.suppress(StoreUnavailable):
                self.write(lambda tx: None)

        return self._store.read(look)

    def check(self) -> str | None:
        """As the store's own."""
        return self._store.check()

    def scrub(self) -> None:
        """As the store's own."""
        self._store.scrub()

    def backup(self, target: Path) -> None:
        """As the store's own."""
        self._store.backup(target)

    def close(self) -> None:
        """As the store's own."""
        self._store.close()

    def _still(self, now: Clocks) -> bool:
        """Whether nothing has to be looked up: the clocks run side by side, and the last note is fresh."""
        known = self._agreed
        if known is None or now.steady - known.steady > _NOTE:
            return False

        return not clock_step.was_set(known, now)


def apply_step(tx: Transaction, now: Clocks) -> tuple[float, ClockReference]:
    """Hold the clocks against what the store knows; answers by how much the calendar was set, the rows with it."""
    noted = clock_step.from_memo(tx.shared_value(STATE_KEY))
    moved, agreed = clock_step.detect_step(noted, now)
    if moved:
        tx.shift_times(moved)
    tx.set_shared_value(STATE_KEY, clock_step.as_memo(agreed))

    return moved, agreed


def cutoff(tx: ReadTransaction, seconds: float) -> float:
    """What the calendar said so long ago, of time that was seen to pass."""
    return clock_step.retention_cutoff(clock_step.from_memo(tx.shared_value(STATE_KEY)), now=tx.now, keep=seconds)


def read_clocks() -> Clocks:
    """This machine's clocks, read close together: a process that is held up in between reads again."""
    while True:
        before = _steady()
        wall = time.time()
        after = _steady()
        if after - before < 0.1:
            return Clocks(wall=wall, steady=after, boot=_BOOT)


def _steady() -> float:
    return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)


def _boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"process {uuid.uuid4()}"  # nothing tells one start of this machine from another


_BOOT = _boot()
