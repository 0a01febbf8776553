"""
Looks into PDFs, in a process of its own: theirs is the one format here that can be made to cost memory and time.

As a program it reads PDFs from stdin, each after its length in eight bytes, and answers each with a line of JSON. The
`Inspector` keeps one such process, and ends it when a PDF takes too long or too much: then nothing is known of that
one, and Anthropic is left to judge it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import select
import subprocess
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass

log = logging.getLogger(__name__)

_MEMORY = 1 << 30  # bytes, for one PDF and the program itself
_MOST_KNOWN = 1000


@dataclass(frozen=True, kw_only=True)
class PdfInfo:
    """What was seen: pages where they could be counted; `locked`: it opens with a password only."""

    pages: int | None = None
    locked: bool = False
    broken: bool = False


class PdfInspector:
    """Remembers what it has seen, by content. All threads share one of these; they wait for each other."""

    def __init__(self, *, patience: float = 10.0, command: list[str] | None = None) -> None:
        self._patience = patience
        self._command = command or [sys.executable, "-m", __name__]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._known: OrderedDict[bytes, PdfInfo] = OrderedDict()

    def look(self, pdf: bytes) -> PdfInfo:
        """Never raises: of what cannot be looked into, nothing is known."""
        key = hashlib.sha256(pdf).digest()
        with self._lock:
            if (known := self._known.get(key)) is not None:
                return known
            try:
                told = json.loads(self._ask(pdf))
                found = PdfInfo(
                    pages=told.get("pages"), locked=told.get("locked", False), broken=told.get("broken", False)
                )
            except (OSError, ValueError) as exc:
                log.warning("a PDF could not be looked into", extra={"bytes": len(pdf), "error": str(exc)})
                self._end()
                found = PdfInfo()
            self._known[key] = found
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)

        return found

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ask(self, pdf: bytes) -> bytes:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(len(pdf).to_bytes(8, "big"))
        process.stdin.write(pdf)
        process.stdin.flush()
        if not select.select([process.stdout], [], [], self._patience)[0]:
            raise TimeoutError(f"it took longer than {self._patience:g} seconds")
        if not (line := process.stdout.readline()):
            raise OSError("it took too much memory")

        return line

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close() if pipe else None


def main() -> None:
    """The program."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()
    while len(length := sys.stdin.buffer.read(8)) == 8:
        pdf = sys.stdin.buffer.read(int.from_bytes(length, "big"))
        sys.stdout.write(json.dumps(_seen(pdf)) + "\n")
        sys.stdout.flush()


def _seen(pdf: bytes) -> dict[str, object]:
    import io

    from pypdf import PdfReader

    try:
        reader = PdfReader(io.BytesIO(pdf))
        if reader.is_encrypted and not reader.decrypt(""):
            return {"locked": True}
        return {"pages": len(reader.pages)}
    except MemoryError:
        raise
    except Exception:
        return {"broken": True}


if __name__ == "__main__":
    main()
