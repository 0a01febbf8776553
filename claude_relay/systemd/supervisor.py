"""Who stands above a daemon, and what it handed down: read once, before the first thread is started."""

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

#: Where a generation finds what the one before hands to it; read and removed at once.
GENERATION = "CLAUDE_RELAY_GENERATION"
_FIRST = 3  # the descriptor at which systemd begins to hand sockets down


@dataclass(kw_only=True)
class Supervisor:
    """
    `sockets` to listen on, `watchdog` in seconds, and of a hand-over: `handles` by name, `before` to be outlived.

    `of` an environment without anything of ours is nobody: every use of it does nothing.
    """

    notifier: Notifier = field(default_factory=Notifier)
    watchdog: float | None = None
    sockets: Sequence[socket.socket] = ()
    handles: Mapping[str, int] = field(default_factory=dict)
    before: dict[int, int] = field(default_factory=dict)  # pid: pidfd
    _ready: int | None = None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Supervisor:
        """
        What the environment says, taken out of it.

        A new generation goes on in a child here, and its first process ends: so the child is the supervisor's own,
        which then sees its end whatever becomes of the generation before. Call it while there is one thread.
        """
        told = json.loads(environ.pop(GENERATION, "null"))
        if told and os.fork():
            os._exit(0)
        mine = str(os.getpid())
        count, for_whom = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
        environ.pop("LISTEN_FDNAMES", None)
        listen = list(range(_FIRST, _FIRST + int(count))) if for_whom == mine and count.isdigit() else []
        listen = told["sockets"] if told else listen
        watched = told or environ.pop("WATCHDOG_PID", mine) == mine
        watchdog = environ.get("WATCHDOG_USEC", "") if watched else ""
        handles: dict[str, int] = dict(told["handles"]) if told else {}
        for handle in (*listen, *handles.values(), *([told["ready"]] if told else [])):
            os.set_inheritable(handle, False)

        return cls(
            notifier=Notifier(environ.get("NOTIFY_SOCKET", "")),
            watchdog=int(watchdog) / 1e6 if watchdog.isdigit() else None,
            sockets=[socket.socket(fileno=handle) for handle in listen],
            handles=handles,
            before=_pidfds(told["before"]) if told else {},
            _ready=told["ready"] if told else None,
        )

    @property
    def follows(self) -> bool:
        """Whether there is a generation before this one, which waits to be relieved."""
        return self._ready is not None

    def starting(self, status: str, seconds: float) -> None:
        """What takes so long, and how long it may take: the unit's time to start is extended."""
        if not self.follows:  # nobody listens to the next generation yet
            self.notifier.extend(seconds)
            self.notifier.tell(f"STATUS={status}")

    def ready(self, status: str) -> None:
        """Now it works. Where another generation came before, that one is told, and lets the supervisor know."""
        if self._ready is None:
            self.notifier.tell("READY=1", f"STATUS={status}")
            return
        with contextlib.suppress(OSError):
            os.write(self._ready, f"{os.getpid()}\n".encode())
        os.close(self._ready)

    def outlive(self, still: Callable[[], None]) -> None:
        """Wait for the generations before this one to end: when the last process goes, the unit is over."""
        while self.before:
            for pid, handle in list(self.before.items()):
                if _ended(handle, 0.5):
                    os.close(handle)
                    del self.before[pid]
            still()

    def ancestors(self) -> list[int]:
        """The pids of those generations that still run, this one last."""
        return [*(pid for pid, handle in self.before.items() if not _ended(handle, 0.0)), os.getpid()]


def _pidfds(pids: Sequence[int]) -> dict[int, int]:
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = os.pidfd_open(pid)

    return found


def _ended(handle: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)

    return bool(poll.poll(timeout * 1000))
