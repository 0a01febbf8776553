"""Retry of store operations that come before anything was sent to Claude."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..core.jobs.failure import Failure
from ..errors import StoreUnavailable
from .outage import STORE

T = TypeVar("T")
#: Returns the reason to stop, if there is one.
StopCheck = Callable[[], Failure | None]

#: Seconds between two attempts on an unavailable store.
_PAUSE = 0.5


def retry_while_unavailable(operation: Callable[[], T], stop: StopCheck) -> T | Failure:
    """Retry until the store is available or `stop` gives a reason: this costs no attempt and no second fetch."""
    while True:
        try:
            return operation()
        except StoreUnavailable as exc:
            if (reason := stop()) is not None:
                return reason
            STORE.failed(exc)
            time.sleep(_PAUSE)
