"""Process supervisor of `serve --with-worker`: runs the API and a worker, and restarts each when it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from types import FrameType

from ..wiring import executable

log = logging.getLogger(__name__)

#: Delay before a restart in seconds; it doubles up to the second value while the process keeps ending early.
_DELAY, _MAX_DELAY = 1.0, 30.0
#: Exit code for wrong settings, with which a restart would change nothing.
_CONFIG = 78
#: Exit codes of a process that was stopped before it had installed its signal handlers.
_STOPPED = (-signal.SIGTERM, -signal.SIGINT)


def _start(verb: str) -> subprocess.Popen[bytes]:
    # In its own session: otherwise Ctrl-C reaches it from the terminal and from us, and two signals stop it at once.
    return subprocess.Popen([*executable(), verb], start_new_session=True)


class _SupervisedProcess:
    """One process, restarted whenever it ends."""

    def __init__(self, verb: str, start: Callable[[str], subprocess.Popen[bytes]]) -> None:
        self.verb = verb
        self._start = start
        self._delay = _DELAY
        self._restart_at: float | None = None
        self._launch()

    def check(self) -> int | None:
        """
        Restart the process if it has ended and its delay is over.

        Return 78 if a restart is of no use.
        """
        code = self.process.poll()
        if code is None:
            return None
        if code == _CONFIG:
            return code
        now = time.monotonic()
        if self._restart_at is None:
            self._delay = _DELAY if now - self._started > _MAX_DELAY else min(self._delay * 2, _MAX_DELAY)
            self._restart_at = now + self._delay
            log.error("process ended", extra={"verb": self.verb, "code": code, "againIn": self._delay})
        elif now >= self._restart_at:
            self._launch()

        return None

    def signal(self, number: int) -> None:
        """Send a signal, if the process runs."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self._signalled = True

    def reload(self) -> None:
        """Let it read its secrets again; it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)

    def signal_once(self, number: int) -> None:
        """Send a signal, unless one was sent already."""
        if not self._signalled:
            self.signal(number)

    def wait(self) -> int:
        """Wait for the end of the process; its exit code."""
        code = None
        while code is None:  # not for ever: a signal that came just before the wait is handled after it
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self.process.wait(1.0)

        return 0 if self._signalled and code in _STOPPED else code

    def _launch(self) -> None:
        self.process = self._start(self.verb)
        self._started, self._restart_at = time.monotonic(), None
        self._signalled = False


def supervise(start: Callable[[str], subprocess.Popen[bytes]] = _start) -> int:
    """
    Run both processes until SIGTERM or SIGINT; return the worst exit code.

    These signals are passed on to the worker, and once it has ended to the API, which accepts jobs until then; a second
    one goes to both. So is SIGHUP, on which they read their secrets again; on a terminal, which was closed then, it is
    passed on as SIGTERM. Where it is ignored (`nohup`), it stays ignored by all.
    """
    stopping, processes = threading.Event(), list[_SupervisedProcess]()

    def pass_on(number: int, _frame: FrameType | None = None) -> None:
        if number == signal.SIGHUP and not os.isatty(0):
            for process in processes:
                process.reload()
            return
        # At first the worker alone: the API accepts jobs while calls are brought to their end. Again: both at once.
        stopped = processes if stopping.is_set() else processes[1:]
        stopping.set()
        for process in stopped:
            process.signal(signal.SIGTERM if number == signal.SIGHUP else number)

    # Installed before anything is started: a signal in between must not leave a process behind.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    for verb in ("serve", "worker"):
        if not stopping.is_set():
            processes.append(_SupervisedProcess(verb, start))
    code = None
    while code is None and not stopping.wait(0.2):
        for process in processes:
            if (code := process.check()) is not None:
                for each in processes:
                    each.signal(signal.SIGTERM)
                break

    # A drain may take as long as a call: our own supervisor decides how long that may be.
    codes = []
    for process in reversed(processes):
        # One that was being started when the signal arrived has not got it.
        process.signal_once(signal.SIGTERM)
        codes.append(process.wait())

    return code if code is not None else max((abs(each) for each in codes), default=0)
