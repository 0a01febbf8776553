"""What a prompt told the sandbox to do, as values; `words` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What can go wrong with a try."""

    ERROR = "error"
    RATE_LIMIT = "rate-limit"
    SPEND_LIMIT = "spend-limit"
    STREAM_ERROR = "stream-error"
    BREAK = "break"
    END_EARLY = "end-early"
    STALL = "stall"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong, for the next `times` tries of the same prompt; None is every time."""

    kind: Kind
    times: int | None = None
    status: int = 529
    wait: float | None = None
    error: str = "overloaded_error"
    early: bool = False


@dataclass(frozen=True, kw_only=True)
class Directives:
    """Everything the prompt told the sandbox to do."""

    slow: float = 0.0
    hang: float = 0.0
    hang_times: int | None = None
    troubles: tuple[Fault, ...] = ()
    refuse: bool = False
    cut_short: bool = False
    pause_turn: bool = False
    bad_json: bool = False
    bad_times: int | None = None
    tool: str | None = None
    long: int | None = None
    say: str | None = None
    expire: bool = False
    expire_times: int | None = None
    batch_error: Fault | None = None

    @property
    def counted(self) -> bool:
        """Whether tries of this prompt have to be counted."""
        return bool(self.troubles) or self.hang_times is not None or self.expire_times is not None

    def trouble(self, attempt: int) -> Fault | None:
        """What goes wrong with the try numbered from 1: troubles queue up in the order in which they were written."""
        for trouble in self.troubles:
            if trouble.times is None or attempt <= trouble.times:
                return trouble
            attempt -= trouble.times
        return None

    def silence(self, attempt: int) -> float:
        """Seconds without a byte before this try is answered."""
        return self.hang if self.hang_times is None or attempt <= self.hang_times else 0.0

    def expires(self, attempt: int) -> bool:
        """Whether this try, as a part of a batch, is not come to in time."""
        return self.expire and (self.expire_times is None or attempt <= self.expire_times)
