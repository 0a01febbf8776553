"""The state of a running sandbox, shared by its connections."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from claude_relay.sandbox.batches import Batches
from claude_relay.sandbox.call_log import CallLog


@dataclass(frozen=True, kw_only=True)
class SandboxState:
    """`delay` is the pause before each piece of a streamed answer; `stopping` is set when the server closes."""

    books: CallLog
    batches: Batches
    delay: float
    stopping: threading.Event
