"""Waiting for a condition instead of a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T | None], *, within: float = 60.0, every: float = 0.02) -> T:
    """The first truthy result of `condition`; fails if there is none within that many seconds."""
    give_up = time.monotonic() + within
    while not (result := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {within} s: the condition is still {result!r}")
        time.sleep(every)

    return result
