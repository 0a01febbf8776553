"""The directives of a prompt as values; `directives` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """The kind of a fault."""

    ERROR = "error"
    ACCOUNT = "account"
    RATE_LIMIT = "rate-limit"
    SPEND_LIMIT = "spend-limit"
    STREAM_ERROR = "stream-error"
    BREAK = "break"
    END_EARLY = "end-early"
    STALL = "stall"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, for the next `times` attempts of the same prompt; None means all of them."""

    kind: Kind
    times: int | None = None
    status: int = 529
    wait: float | None = None
    error: str = "overloaded_error"
    early: bool = False
    words: str = ""
    code: str | None = None


@dataclass(frozen=True, kw_only=True)
class Directives:
    """All directives of a prompt."""

    slow: float = 0.0
    hang: float = 0.0
    hang_times: int | None = None
    faults: tuple[Fault, ...] = ()
    refuse: bool = False
    cut_short: bool = False
    pause_turn: bool = False
    bad_json: bool = False
    bad_times: int | None = None
    tool: str | None = None
    long: int | None = None
    say: str | None = field(default=None, repr=False)
    expire: bool = False
    expire_times: int | None = None
    batch_error: Fault | None = None

    @property
    def counted(self) -> bool:
        """Whether the attempts of this prompt must be counted."""
        return bool(self.faults) or self.hang_times is not None or self.expire_times is not None

    def fault(self, attempt: int) -> Fault | None:
        """The fault of an attempt, numbered from 1: faults queue up in the order in which they were written."""
        for fault in self.faults:
            if fault.times is None or attempt <= fault.times:
                return fault
            attempt -= fault.times
        return None

    def hang_time(self, attempt: int) -> float:
        """Seconds without a byte before this attempt is answered."""
        return self.hang if self.hang_times is None or attempt <= self.hang_times else 0.0

    def expires(self, attempt: int) -> bool:
        """Whether this attempt, as part of a batch, expires before it is processed."""
        return self.expire and (self.expire_times is None or attempt <= self.expire_times)
