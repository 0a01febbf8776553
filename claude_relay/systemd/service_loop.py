"""
The duties of a daemon towards its supervisor: watchdog signals, a status line, and the hand-over on reload.

A reload is always a hand-over: a new process reads the settings, loads the code that is installed now, and takes over
once it works; the old one then finishes its calls. So there is one mechanism for new keys, new limits and a new
version, settings stay one frozen object per process, and invalid settings end the new process, not the working one.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from types import FrameType

from .. import self_command
from .supervisor import GENERATION, Supervisor

log = logging.getLogger(__name__)

#: Interval of the status line, in seconds.
_STATUS_INTERVAL = 5.0
#: Extension of the stop timeout that is requested repeatedly while stopping, in seconds.
_STOP_EXTENSION = 60.0


class ServiceLoop:
    """
    Performs the duties that are due on each `tick`, which the watched loop calls about every half second.

    `silent` returns the name of a hanging part (None: there is none); `status` returns the status line. Without a
    supervisor no process can take over: `reread` then reads the secrets again within this one.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        silent: Callable[[], str | None],
        status: Callable[[], str],
        sockets: Sequence[int] = (),
        handles: Mapping[str, int] | None = None,
        wake: Callable[[], None] = lambda: None,
        reread: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._supervisor, self._silent, self._status = supervisor, silent, status
        self._sockets, self._handles, self._wake = sockets, handles or {}, wake
        self._reread, self._clock = reread, clock
        self._reload_requested = threading.Event()
        self._successor: Successor | None = None
        # systemd ignores this process until the previous generation has named it as the main process.
        self._status_at = self._alive_at = clock() if supervisor.follows else float("-inf")
        self._last_status = self._hanging = ""

    def listen(self, stop: Callable[[int, FrameType | None], None]) -> None:
        """
        Reload on SIGHUP. Where there is a terminal, it was closed: then `stop`, which breaks off no call either.

        A SIGHUP that is ignored (`nohup`) stays ignored.
        """
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            return
        reloads = self._supervisor.notifier or not os.isatty(0)
        signal.signal(signal.SIGHUP, self._on_signal if reloads else stop)

    def reload(self) -> None:
        """Request a hand-over. Safe in a signal handler."""
        self._reload_requested.set()
        self._wake()

    def tick(self) -> bool:
        """Perform what is due; returns True once the next generation has taken over."""
        self._ping_watchdog()
        if self._successor is None and self._reload_requested.is_set():
            self._reload_requested.clear()
            if self._supervisor.notifier:
                self._start_successor()
            else:
                self._reread()
        if self._successor is not None and (pid := self._successor.poll()) is not None:
            self._successor = None
            return self._finish_reload(pid)
        if self._clock() - self._status_at >= _STATUS_INTERVAL:
            self._send_status()

        return False

    def retired(self) -> ServiceLoop:
        """The loop of a generation that was replaced: it sends no more notifications."""
        return ServiceLoop(Supervisor(), silent=self._silent, status=self._status)

    def stopping(self, status: str) -> None:
        """Signal life and request more time to stop."""
        self._ping_watchdog()
        self._supervisor.notifier.extend(_STOP_EXTENSION)
        if status != self._last_status:
            self._supervisor.notifier.tell("STOPPING=1", f"STATUS={status}")
            self._last_status = status

    def _ping_watchdog(self) -> None:
        interval = (self._supervisor.watchdog or 0.0) / 4
        if not interval or self._clock() - self._alive_at < interval:
            return
        hanging = self._silent() or ""
        if not hanging:
            self._alive_at = self._clock()
            self._supervisor.notifier.tell("WATCHDOG=1")
        elif hanging != self._hanging:
            log.critical("no sign of life", extra={"part": hanging})
        self._hanging = hanging

    def _send_status(self) -> None:
        self._status_at = self._clock()
        if not self._supervisor.notifier or self._successor is not None:
            return
        if (line := self._status()) != self._last_status:
            self._supervisor.notifier.tell(f"STATUS={line}")
            self._last_status = line

    def _start_successor(self) -> None:
        self._supervisor.notifier.reloading()
        self._supervisor.notifier.tell("STATUS=handing over to a new generation")
        log.info("handing over", extra={"pid": os.getpid()})
        self._successor = Successor(self._supervisor.ancestors(), self._sockets, self._handles)

    def _finish_reload(self, pid: int) -> bool:
        if not pid:
            log.error("the new generation did not start; this one continues unchanged")
            self._last_status = "reload failed: the previous settings and code stay in use, see the log"
            self._supervisor.notifier.tell("READY=1", f"STATUS={self._last_status}")
            return False
        self._supervisor.notifier.tell(f"MAINPID={pid}", "READY=1")
        # Wait, so that systemd does not take the end of this process for the end of the unit.
        self._supervisor.notifier.barrier()
        log.info("handed over", extra={"to": pid})

        return True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.reload()


class Successor:
    """The next generation, from its start until it is ready."""

    def __init__(
        self,
        predecessors: Sequence[int],
        sockets: Sequence[int],
        handles: Mapping[str, int],
        environ: MutableMapping[str, str] = os.environ,
    ) -> None:
        from . import credentials  # here: a reload runs that module by itself, which may not be imported before

        self._answer = b""
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        handed = {"ready": theirs, "before": list(predecessors), "sockets": list(sockets), "handles": dict(handles)}
        try:
            self._starter = subprocess.Popen(
                [*self_command.self_command(), *sys.argv[1:]],
                env={**credentials.environment(environ), GENERATION: json.dumps(handed)},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs, *sockets, *handles.values()),
            )
        finally:
            os.close(theirs)

    def poll(self) -> int | None:
        """Its pid once it is ready, 0 if it failed, None while it is starting."""
        try:
            data = os.read(self._pipe, 64)
        except BlockingIOError:
            return None
        self._answer += data
        if data and not self._answer.endswith(b"\n"):
            return None
        os.close(self._pipe)
        self._starter.wait()

        return int(self._answer or b"0")
