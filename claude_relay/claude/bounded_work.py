"""
The program of a bounded process: tasks on stdin, results on stdout.

A result is a line of JSON. A task is a line of JSON (`task`, `seconds`, `bytes`) and that many bytes. `bounded_process`
is the other side.
"""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: Address space of a process, in bytes: a PDF of 24 MB with 20,000 objects takes 180 MB.
MEMORY = 512 << 20
#: A process that took more kilobytes than this ends after its task: the memory would be missing in the next one.
_WORN = 192 << 10


def main() -> None:
    """Do tasks until stdin ends."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # it ends with the daemon, which drains its calls
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (0, 0))
    logging.disable()
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # a library that prints must not write into the replies
    replies.write(b"ready\n")
    while line := sys.stdin.buffer.readline():
        reply = _reply(json.loads(line))
        replies.write(json.dumps(reply).encode() + b"\n")
        if reply["last"]:
            return


def _reply(head: Mapping[str, Any]) -> dict[str, Any]:
    # The end by SIGALRM, should the daemon be away by then.
    signal.setitimer(signal.ITIMER_REAL, head["seconds"] + 2.0)
    try:
        result = _TASKS[head["task"]](sys.stdin.buffer.read(head["bytes"]), head["seconds"])
    except MemoryError:
        return {"failed": "memory", "last": True}
    except Exception:
        return {"failed": "crash", "last": True}
    signal.setitimer(signal.ITIMER_REAL, 0.0)

    return {"result": result, "last": _peak() > _WORN}


def _peak() -> int:
    """The largest memory of this program, in kilobytes; `getrusage` would count that of the daemon that started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")

    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def _pdf(data: bytes, _seconds: float) -> dict[str, object]:
    from pypdf import PdfReader

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            return {"locked": True}
        return {"pages": len(reader.pages)}
    except MemoryError:
        raise
    except Exception:
        return {"broken": True}


def _compile(data: bytes, _seconds: float) -> str | None:
    from .safe_schema import compile_problem

    return compile_problem(json.loads(data))


def _validate(data: bytes, seconds: float) -> dict[str, Any]:
    from .schema import SchemaMismatch, UnusableSchema, check_value, parse_value

    given = json.loads(data)
    try:
        check_value(parse_value(given["text"]), given["schema"], seconds=seconds)
    except SchemaMismatch as exc:
        return {"mismatch": str(exc)}
    except UnusableSchema as exc:
        return {"unusable": str(exc)}

    return {}


_TASKS: Mapping[str, Callable[[bytes, float], Any]] = {"pdf": _pdf, "compile": _compile, "validate": _validate}
