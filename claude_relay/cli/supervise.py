"""`serve --with-worker`: the API and a worker as two processes, both kept up. What systemd does elsewhere."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from types import FrameType

from ..wiring import executable

log = logging.getLogger(__name__)

#: A process that ends is started again after this long, doubling up to the second while it keeps ending at once.
_PAUSE, _LONGEST = 1.0, 30.0
#: Settings are wrong: starting again would change nothing.
_CONFIG = 78


class _Kept:
    """One process, started again whenever it ends."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.process = subprocess.Popen([*executable(), verb])
        self._started = time.monotonic()
        self._pause = _PAUSE
        self._again_at: float | None = None

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
            self.process = subprocess.Popen([*executable(), self.verb])
            self._started, self._again_at = now, None

        return None


def supervise() -> int:
    """Until SIGTERM or SIGINT, which are passed on; a second one is, too. Answers the worst exit code."""
    asked = threading.Event()
    kept = [_Kept("serve"), _Kept("worker")]

    def pass_on(number: int, frame: FrameType | None) -> None:
        asked.set()
        for one in kept:
            if one.process.poll() is None:
                one.process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    while not asked.wait(0.2):
        for one in kept:
            if (code := one.look()) is not None:
                pass_on(signal.SIGTERM, None)
                for other in kept:
                    other.process.wait()
                return code

    # A drain may be as long as a call: whoever supervises us decides how long that may last.
    return max((abs(one.process.wait()) for one in kept), default=0)
