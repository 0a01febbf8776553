"""The supervisor of a daemon and what it passed on: read once, before the first thread is started."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from .notify import Notifier

log = logging.getLogger(__name__)

#: Variable in which a generation receives data from the previous one; removed once it is read.
GENERATION = "CLAUDE_RELAY_GENERATION"
_FIRST_SOCKET = 3  # first descriptor of the sockets that systemd passes (SD_LISTEN_FDS_START)


@dataclass(kw_only=True)
class Supervisor:
    """
    The notifier, the `sockets` to listen on, the `watchdog` timeout in seconds, and the data of a hand-over.

    A hand-over passes file `handles` by name, and the `predecessors` that are still running. Without a supervisor all
    methods do nothing.
    """

    notifier: Notifier = field(default_factory=Notifier)
    watchdog: float | None = None
    sockets: Sequence[socket.socket] = ()
    handles: Mapping[str, int] = field(default_factory=dict)
    predecessors: dict[int, int] = field(default_factory=dict)  # pid: pidfd
    _ready: int | None = None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Supervisor:
        """
        Read the supervisor's variables from the environment and remove them.

        A new generation forks here, and its first process ends: the child then belongs to the supervisor, which sees
        its end whatever happens to the previous generation. Call it while there is only one thread.
        """
        handed = json.loads(environ.pop(GENERATION, "null"))
        if handed and os.fork():
            os._exit(0)
        pid = str(os.getpid())
        count, target = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
        environ.pop("LISTEN_FDNAMES", None)
        listen = list(range(_FIRST_SOCKET, _FIRST_SOCKET + int(count))) if target == pid and count.isdigit() else []
        listen = handed["sockets"] if handed else listen
        watched = handed or environ.pop("WATCHDOG_PID", pid) == pid
        watchdog = environ.get("WATCHDOG_USEC", "") if watched else ""
        handles: dict[str, int] = dict(handed["handles"]) if handed else {}
        for handle in (*listen, *handles.values(), *([handed["ready"]] if handed else [])):
            os.set_inheritable(handle, False)

        return cls(
            notifier=Notifier(environ.get("NOTIFY_SOCKET", "")),
            watchdog=int(watchdog) / 1e6 if watchdog.isdigit() else None,
            sockets=[socket.socket(fileno=handle) for handle in listen],
            handles=handles,
            predecessors=_pidfds(handed["before"]) if handed else {},
            _ready=handed["ready"] if handed else None,
        )

    @property
    def follows(self) -> bool:
        """Whether this generation replaces a previous one."""
        return self._ready is not None

    def starting(self, status: str, seconds: float) -> None:
        """Report a long step of the start, and extend the unit's start timeout by its maximum duration."""
        if not self.follows:  # systemd ignores the next generation until the hand-over
            self.notifier.extend(seconds)
            self.notifier.tell(f"STATUS={status}")

    def ready(self, status: str) -> None:
        """Report readiness: to the previous generation, which informs the supervisor, or to the supervisor."""
        if self._ready is None:
            self.notifier.tell("READY=1", f"STATUS={status}")
            return
        with contextlib.suppress(OSError):
            os.write(self._ready, f"{os.getpid()}\n".encode())
        os.close(self._ready)

    def outlive(self, on_wait: Callable[[], None]) -> None:
        """Wait for the previous generations to end, as the unit ends with this process; calls `on_wait` meanwhile."""
        while self.predecessors:
            for pid, handle in list(self.predecessors.items()):
                if _ended(handle, 0.5):
                    os.close(handle)
                    del self.predecessors[pid]
            on_wait()

    def ancestors(self) -> list[int]:
        """The pids of the running generations, this one last."""
        return [*(pid for pid, handle in self.predecessors.items() if not _ended(handle, 0.0)), os.getpid()]


def _pidfds(pids: Sequence[int]) -> dict[int, int]:
    handles = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            handles[pid] = os.pidfd_open(pid)

    return handles


def _ended(handle: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)

    return bool(poll.poll(timeout * 1000))
