"""The progress of a collection on a terminal: one line that is written over."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from ...core.collections.pace import seconds_left

_WIDTH = 24


class ProgressLine:
    """Shows rows done, failed, dollars spent and the time left; nothing where stderr is no terminal."""

    def __init__(self, *, plain: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._active = sys.stderr.isatty() and not plain
        self._clock = clock
        self._began: tuple[float, int] | None = None

    def update(self, status: dict[str, Any]) -> None:
        """Show that status."""
        if self._active:
            sys.stderr.write(f"\r\x1b[K{self.text(status)}")
            sys.stderr.flush()

    def text(self, status: dict[str, Any]) -> str:
        """The line for that status."""
        total, ended = status["total"], status["completed"] + status["failed"]
        now = self._clock()
        if self._began is None:
            self._began = (now, ended)
        filled = _WIDTH * ended // total if total else _WIDTH
        parts = [f"{ended} of {total} done", f"{status['failed']} failed"]
        if status["costUsd"]:
            parts.append(f"${status['costUsd']:.4f} spent")
        began_at, already = self._began
        left = seconds_left(total=total, ended=ended, elapsed=now - began_at, already=already)
        if left is not None:
            parts.append(f"{_duration(left)} left")

        return f"[{'#' * filled}{'.' * (_WIDTH - filled)}] " + ", ".join(parts)

    def end(self) -> None:
        """Leave the line."""
        if self._active:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"

    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
