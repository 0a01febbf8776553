"""The size of the steps of long work on the store, by the time that the last one took."""

from __future__ import annotations

from dataclasses import replace

from .lazy_dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class StepSize:
    """
    The number of rows of the next step.

    Twice as many after a short one, half as many after a long one: `least` times a power of two, up to `most`: an
    engine keeps a prepared statement for each number.
    """

    size: int
    least: int
    most: int
    seconds: float  # that a step may take

    def after(self, took: float) -> StepSize:
        """The size after a step that took so many seconds."""
        if took > self.seconds:
            return replace(self, size=max(self.least, self.size // 2))
        if took < self.seconds / 2:
            return replace(self, size=min(self.most, self.size * 2))

        return self
