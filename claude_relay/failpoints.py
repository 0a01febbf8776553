"""
Failpoints: named places where a test kills the process.

The effects of a crash are then seen from outside. At those that begin with `loop.` the thread hangs instead, and the
rest of the process goes on.

Inert unless armed by CLAUDE_RELAY_FAILPOINT=name[:n] (the n-th time; 1 by default) together with
CLAUDE_RELAY_TESTING=1. A daemon with the first but not the second refuses to start.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping

from .errors import ConfigError

NAMES = frozenset(
    (
        "submit.before_commit",
        "submit.after_commit",
        "claim.after_commit",
        "sending.after_commit",
        "checkpoint.after_commit",
        "complete.before_commit",
        "complete.after_commit",
        "batch.planned",
        "batch.sending",
        "batch.created",
        "batch.result",
        "deliver.before_post",
        "deliver.after_post",
        "loop.slots",
        "loop.heart",
        "loop.upkeep",
        "loop.deliveries",
        "loop.delivery-leases",
    )
)

_remaining: dict[str, int] = {}


def arm(environ: Mapping[str, str]) -> None:
    """Arm the failpoint that the environment names. Raises `ConfigError` outside a test, and for an unknown name."""
    if (spec := environ.get("CLAUDE_RELAY_FAILPOINT")) is None:
        return
    if environ.get("CLAUDE_RELAY_TESTING") != "1":
        raise ConfigError(["CLAUDE_RELAY_FAILPOINT kills this process on purpose: unset it; it is for tests only."])
    name, _, count = spec.partition(":")
    if name not in NAMES or not (count or "1").isdigit():
        raise ConfigError([f"CLAUDE_RELAY_FAILPOINT={spec} is none of {', '.join(sorted(NAMES))}, with :n behind it."])
    _remaining[name] = int(count or "1")


def hit(name: str) -> None:
    """Mark a failpoint. Costs a look-up in an empty dictionary."""
    if name in _remaining:
        _remaining[name] -= 1
        if _remaining[name] <= 0 and name.startswith("loop."):
            threading.Event().wait()
        elif _remaining[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
