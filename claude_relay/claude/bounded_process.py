"""
Processes with limits of time and memory, for PDFs and the patterns of schemas.

A process does one task at a time, within a time limit and `bounded_work.MEMORY`. Each task begins in the quick lane;
one that takes longer starts again in the slow lane, so that slow tasks delay only each other. Processes start on
demand and end when they are idle, or with the process that started them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from ..core.lazy_dataclass import dataclass

log = logging.getLogger(__name__)

#: Runs this package's own `bounded_work`, wherever the program was started; -I: no environment, no current directory.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from claude_relay.claude.bounded_work import main; main()"
COMMAND = (sys.executable, "-I", "-c", _PROGRAM, str(Path(__file__).parents[2]))
_READY = b"ready\n"
#: Seconds for a process to start on a busy machine, and between its own time limit and its end by force.
_START, _GRACE = 20.0, 1.0
_CHUNK, _MAX_REPLY = 1 << 20, 1 << 20


class WorkFailed(Exception):
    """A task had no result. `reason`: "time", "memory" or "crash", which are due to its content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoProcess(WorkFailed):
    """The task was not begun. `reason`: "start" (the machine cannot start a process) or "busy"."""


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A number of processes, and the seconds that each task may take in them."""

    processes: int
    seconds: float


#: Two for quick tasks; one for the others, which leaves a core of a small machine to the calls.
LANES = (Lane(processes=2, seconds=1.5), Lane(processes=1, seconds=10.0))


@dataclass(eq=False)
class _Process:
    popen: subprocess.Popen[bytes]
    fresh: bool = True
    idle_since: float = 0.0
    unread: bytes = field(default=b"", repr=False)

    def read_line(self, deadline: float) -> bytes:
        """The next line; empty at the end of the output. Raises `TimeoutError`."""
        assert self.popen.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.popen.stdout, selectors.EVENT_READ)
            while b"\n" not in self.unread and len(self.unread) < _MAX_REPLY:
                _wait(selector, deadline)
                if not (piece := os.read(self.popen.stdout.fileno(), 65_536)):
                    return b""
                self.unread += piece
        line, _, self.unread = self.unread.partition(b"\n")

        return line + b"\n"

    def write(self, data: bytes, deadline: float) -> None:
        """Write to its input without waiting longer than `deadline`."""
        assert self.popen.stdin is not None
        descriptor, rest = self.popen.stdin.fileno(), memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_WRITE)
            while rest:
                _wait(selector, deadline)
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(descriptor, rest[:_CHUNK]) :]

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None


class BoundedProcesses:
    """The processes of one daemon. Shared by all threads."""

    def __init__(self, *, lanes: Sequence[Lane] = LANES, idle: float = 60.0, command: Sequence[str] = COMMAND) -> None:
        self._lanes, self._idle_seconds, self._command = lanes, idle, list(command)
        self._places = [threading.BoundedSemaphore(lane.processes) for lane in lanes]
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._spent = threading.local()

    def run(
        self, task: str, data: bytes, *, seconds: float = math.inf, wait: float = math.inf, quick: bool = False
    ) -> Any:
        """
        Do a task of `bounded_work`; raises `WorkFailed`.

        `seconds` limits the task, `wait` the wait for a process of each lane; `quick`: not in the slow lane.
        """
        lanes = list(zip(self._lanes, self._places, strict=True))[: 1 if quick else None]
        for number, (lane, places) in enumerate(lanes, 1):
            limit = min(lane.seconds, seconds)
            if not places.acquire(timeout=None if wait == math.inf else wait):
                raise NoProcess("busy")
            began = time.monotonic()
            try:
                return self._run(task, data, limit)
            except WorkFailed as exc:
                if exc.reason != "time" or limit >= seconds or number == len(lanes):
                    log.warning("task ended without a result", extra={"task": task, "reason": exc.reason})
                    raise
            finally:
                places.release()
                self._spent.seconds = self.thread_seconds() + time.monotonic() - began

        raise NoProcess("busy")

    def thread_seconds(self) -> float:
        """The seconds that processes have worked for the calling thread."""
        return float(getattr(self._spent, "seconds", 0.0))

    def close(self) -> None:
        """End the idle processes; one that works ends with its task's time limit. More may be started later."""
        with self._lock:
            idle, self._idle = self._idle, []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for process in idle:
            process.end()

    def _run(self, task: str, data: bytes, seconds: float) -> Any:
        for process in self._processes():
            try:
                return self._exchange(process, task, data, seconds)
            except OSError as exc:  # it ended, or took too long
                fresh = process.fresh
                process.end()
                if isinstance(exc, TimeoutError):
                    raise WorkFailed("time") from exc
                if fresh:
                    raise WorkFailed("crash") from exc
                # A process that had worked before may have been killed for another reason: again in a new one.
            except (ValueError, LookupError) as exc:  # its reply is none
                process.end()
                raise WorkFailed("crash") from exc
            except BaseException:
                process.end()
                raise

        raise WorkFailed("crash")

    def _exchange(self, process: _Process, task: str, data: bytes, seconds: float) -> Any:
        deadline = time.monotonic() + seconds + _GRACE
        head = json.dumps({"task": task, "seconds": seconds, "bytes": len(data)}).encode() + b"\n"
        process.write(head, deadline)
        process.write(data, deadline)
        if not (line := process.read_line(deadline)):
            raise BrokenPipeError("the process ended")
        reply = json.loads(line)
        if reply["last"]:
            process.end()
        else:
            self._keep(process)
        if "failed" in reply:
            raise WorkFailed(reply["failed"])

        return reply["result"]

    def _processes(self) -> Iterator[_Process]:
        """A process that is idle, if there is one, and then a new one."""
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is not None:
            process.fresh = False
            yield process
        yield self._start()

    def _start(self) -> _Process:
        try:
            # Without the environment: it has the keys.
            popen = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            log.warning("no process can be started", extra={"error": str(exc)})
            raise NoProcess("start") from exc
        process = _Process(popen)
        assert popen.stdin is not None
        os.set_blocking(popen.stdin.fileno(), False)
        try:
            started = process.read_line(time.monotonic() + _START) == _READY
        except OSError:
            started = False
        if not started:
            process.end()
            log.warning("a process ended while it started", extra={"exitCode": popen.returncode})
            raise NoProcess("start")

        return process

    def _keep(self, process: _Process) -> None:
        process.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(process)
            self._schedule()

    def _schedule(self) -> None:
        if self._timer is None and self._idle:
            self._timer = threading.Timer(self._idle_seconds, self._end_idle)
            self._timer.name, self._timer.daemon = "idle-processes", True
            self._timer.start()

    def _end_idle(self) -> None:
        oldest = time.monotonic() - self._idle_seconds * 0.9
        with self._lock:
            ended = [process for process in self._idle if process.idle_since <= oldest]
            self._idle = [process for process in self._idle if process.idle_since > oldest]
            self._timer = None
            self._schedule()
        for process in ended:
            process.end()


def _wait(selector: selectors.BaseSelector, deadline: float) -> None:
    if not selector.select(max(0.0, deadline - time.monotonic())):
        raise TimeoutError


#: Of this process: the bound on their number is one for all its threads.
PROCESSES = BoundedProcesses()
