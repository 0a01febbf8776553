"""Wake-ups for processes that wait for work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

from ..core.lazy_dataclass import dataclass


class ReadyQueue(Protocol):
    """Carries the ids of ready jobs; may lose or repeat them. `wake` is called when another process adds ids."""

    def put(self, job_ids: Sequence[str]) -> None: ...
    def take(self, limit: int) -> Sequence[str]: ...
    def listen(self, wake: Callable[[], None]) -> None: ...
    def close(self) -> None: ...


class Notifier(Protocol):
    """Wakes the processes that wait for work. A notification may be lost."""

    def notify(self, job_ids: Sequence[str] = ()) -> None: ...
    def close(self) -> None: ...


class NoNotifier:
    """Implements `Notifier` for a store that is only read."""

    def notify(self, job_ids: Sequence[str] = ()) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Listener(Protocol):
    """One worker's end of the wake-up signals, which it also gets from other processes of its machine."""

    def wait(self, timeout: float) -> bool: ...
    def wake_self(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class TextPiece:
    """A piece of the text that a call writes, before it is stored; `offset` counts code points within the call."""

    job_id: str
    call: int
    offset: int
    text: str = field(repr=False)


class TextSink(Protocol):
    """Takes the text of calls in this worker for the streams of this machine. Never waits; pieces may be lost."""

    def put(self, piece: TextPiece) -> None: ...
    def close(self) -> None: ...


class TextSource(Protocol):
    """Receives those pieces in another process of the same machine, in a thread of its own, until it is closed."""

    def open(self, receive: Callable[[TextPiece], None]) -> None: ...
    def close(self) -> None: ...
