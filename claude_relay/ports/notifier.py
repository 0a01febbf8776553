"""Wake-ups for processes that wait for work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


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


class Listener(Protocol):
    """One worker's end of the wake-up signals, which it also gets from other processes of its machine."""

    def wait(self, timeout: float) -> bool: ...
    def wake_self(self) -> None: ...
    def close(self) -> None: ...
