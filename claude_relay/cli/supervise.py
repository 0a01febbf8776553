"""`serve --with-worker`: the API and a worker as two processes, both kept up. What systemd does elsewhere."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from types import FrameType

from ..wiring import executable

log = logging.getLogger(__name__)

#: A process that ends is started again after this long, doubling up to the second while it keeps ending at once.
_PAUSE, _LONGEST = 1.0, 30.0
#: Settings are wrong: starting again would change nothing.
_CONFIG = 78
#: How a process ends that was told to stop before it could listen.
_STOPPED = (-signal.SIGTERM, -signal.SIGINT)


def _start(verb: str) -> subprocess.Popen[bytes]:
    # In a session of its own: Ctrl-C would reach it from the terminal and from us, and twice means at once.
    return subprocess.Popen([*executable(), verb], start_new_session=True)


class _Kept:
    """One process, started again whenever it ends."""

    def __init__(self, verb: str, start: Callable[[str], subprocess.Popen[bytes]]) -> None:
        self.verb = verb
        self._start = start
        self._pause = _PAUSE
        self._again_at: float | None = None
        self._begin()

    def look(self) -> int | None:
        """Start it again if it has ended and its pause is over; answers 78 where that would be of no use."""
        code = self.process.poll()
        if code is None:
            return None
        if code == _CONFIG:
            return code
        now = time.monotonic()
        if self._again_at is None:
            self._pause = _PAUSE if now - self._started > _LONGEST else min(self._pause * 2, _LONGEST)
            self._again_at = now + self._pause
            log.error("process ended", extra={"verb": self.verb, "code": code, "againIn": self._pause})
        elif now >= self._again_at:
            self._begin()

        return None

    def tell(self, number: int) -> None:
        """Pass a signal on, if it runs."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self._told = True

    def tell_once(self, number: int) -> None:
        """The same, unless it has been told something already."""
        if not self._told:
            self.tell(number)

    def wait(self) -> int:
        """Its exit code, once it has one."""
        code = self.process.wait()

        return 0 if self._told and code in _STOPPED else code

    def _begin(self) -> None:
        self.process = self._start(self.verb)
        self._started, self._again_at = time.monotonic(), None
        self._told = False


def supervise(start: Callable[[str], subprocess.Popen[bytes]] = _start) -> int:
    """Until SIGTERM, SIGINT or SIGHUP, which are passed on; a second one is, too. Answers the worst exit code."""
    asked, kept = threading.Event(), list[_Kept]()

    def pass_on(number: int, frame: FrameType | None = None) -> None:
        asked.set()
        for one in kept:
            one.tell(signal.SIGTERM if number == signal.SIGHUP else number)

    # Before anything is started: what is told to stop meanwhile must not be left behind.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    for verb in ("serve", "worker"):
        if not asked.is_set():
            kept.append(_Kept(verb, start))
    code = None
    while code is None and not asked.wait(0.2):
        for one in kept:
            if (code := one.look()) is not None:
                pass_on(signal.SIGTERM)
                break

    # A signal that came while a process was being started has not reached that one.
    for one in kept:
        one.tell_once(signal.SIGTERM)
    # A drain may be as long as a call: whoever supervises us decides how long that may last.
    ended = [one.wait() for one in kept]

    return code if code is not None else max((abs(one) for one in ended), default=0)
