"""How those who wait hear that there is something to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class ReadyQueue(Protocol):
    """Carries ids of ready jobs to workers; may lose or repeat them. `wake` is called when some come from elsewhere."""

    def put(self, job_ids: Sequence[str]) -> None: ...
    def take(self, limit: int) -> Sequence[str]: ...
    def listen(self, wake: Callable[[], None]) -> None: ...
    def close(self) -> None: ...


class Notifier(Protocol):
    """Tells whoever waits for work to look now. It may be lost."""

    def notify(self, job_ids: Sequence[str] = ()) -> None: ...
    def close(self) -> None: ...


class Listener(Protocol):
    """One worker's end of the wake-up signals, which it also gets from other processes of its machine."""

    def wait(self, timeout: float) -> bool: ...
    def wake_self(self) -> None: ...
    def close(self) -> None: ...
