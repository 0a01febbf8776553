"""
What a daemon does for its supervisor while it runs: signs of life, a line of status, and the hand-over at a reload.

A reload is always a hand-over: a new process reads the settings, loads the code that is installed now, and takes over
once it works; the old one then brings home what it has. So there is one way for new keys, new limits and a new version,
settings stay one frozen object a process, and settings that are wrong end the new process, not the one that works.
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

#: How often the line of status is written anew, in seconds.
_STATUS = 5.0
#: While stopping, the supervisor is asked for this much more time again and again, in seconds.
_MORE = 60.0


class ServiceLoop:
    """
    `tick` does what is due; call it about every half second, from the loop whose life is to be shown.

    `silent` names what has shown no life for too long (None: all have); `status` is one line for people.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._above, self._silent, self._status = supervisor, silent, status
        self._sockets, self._handles, self._wake = sockets, handles or {}, wake
        self._clock = clock
        self._asked = threading.Event()
        self._next: Successor | None = None
        # Until the one before has said who is the main process now, nobody would listen to this one.
        self._said_at = self._alive_at = clock() if supervisor.follows else float("-inf")
        self._last = self._fault = ""

    def listen(self) -> None:
        """SIGHUP asks for a reload, where there is a supervisor who sends it; else it is the terminal's farewell."""
        if self._above.notifier:
            signal.signal(signal.SIGHUP, self._on_signal)

    def reload(self) -> None:
        """Ask for a hand-over. Safe in a signal handler."""
        self._asked.set()
        self._wake()

    def tick(self) -> bool:
        """Answers True once the next generation has taken over."""
        self._show_life()
        if self._next is None and self._asked.is_set():
            self._asked.clear()
            self._begin()
        if self._next is not None and (pid := self._next.answer()) is not None:
            self._next = None
            return self._end(pid)
        if self._clock() - self._said_at >= _STATUS:
            self._say()

        return False

    def retired(self) -> ServiceLoop:
        """What remains after a hand-over: the next generation speaks from now on, this one says nothing more."""
        return ServiceLoop(Supervisor(), silent=self._silent, status=self._status)

    def stopping(self, status: str) -> None:
        """Still alive, and more time is needed to stop."""
        self._show_life()
        self._above.notifier.extend(_MORE)
        if status != self._last:
            self._above.notifier.tell("STOPPING=1", f"STATUS={status}")
            self._last = status

    def _show_life(self) -> None:
        every = (self._above.watchdog or 0.0) / 4
        if not every or self._clock() - self._alive_at < every:
            return
        fault = self._silent() or ""
        if not fault:
            self._alive_at = self._clock()
            self._above.notifier.tell("WATCHDOG=1")
        elif fault != self._fault:
            log.critical("no sign of life", extra={"part": fault})
        self._fault = fault

    def _say(self) -> None:
        self._said_at = self._clock()
        if not self._above.notifier or self._next is not None:
            return
        if (line := self._status()) != self._last:
            self._above.notifier.tell(f"STATUS={line}")
            self._last = line

    def _begin(self) -> None:
        self._above.notifier.reloading()
        self._above.notifier.tell("STATUS=handing over to a new generation")
        log.info("handing over", extra={"pid": os.getpid()})
        self._next = Successor(self._above.ancestors(), self._sockets, self._handles)

    def _end(self, pid: int) -> bool:
        if not pid:
            log.error("the new generation did not start; this one goes on as it was")
            self._last = "reload failed: the settings or the code of before go on, see the log"
            self._above.notifier.tell("READY=1", f"STATUS={self._last}")
            return False
        self._above.notifier.tell(f"MAINPID={pid}", "READY=1")
        # Before this one may end: else the supervisor could take its end for the unit's.
        self._above.notifier.barrier()
        log.info("handed over", extra={"to": pid})

        return True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.reload()


class Successor:
    """The next generation, from its start until it works."""

    def __init__(
        self,
        before: Sequence[int],
        sockets: Sequence[int],
        handles: Mapping[str, int],
        environ: MutableMapping[str, str] = os.environ,
    ) -> None:
        self._said = b""
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        told = {"ready": theirs, "before": list(before), "sockets": list(sockets), "handles": dict(handles)}
        try:
            self._starter = subprocess.Popen(
                [*self_command.self_command(), *sys.argv[1:]],
                env={**environ, GENERATION: json.dumps(told)},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs, *sockets, *handles.values()),
            )
        finally:
            os.close(theirs)

    def answer(self) -> int | None:
        """Its pid once it works, 0 once it is known to have failed, None as long as neither is known."""
        try:
            said = os.read(self._pipe, 64)
        except BlockingIOError:
            return None
        self._said += said
        if said and not self._said.endswith(b"\n"):
            return None
        os.close(self._pipe)
        self._starter.wait()

        return int(self._said or b"0")
