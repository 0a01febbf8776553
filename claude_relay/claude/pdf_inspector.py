"""
PDF inspection in a separate process.

A PDF can be crafted to use up memory and time, unlike the other formats.

As a program it reads PDFs from stdin, each preceded by its length in eight bytes, and writes a line of JSON for each.
`PdfInspector` keeps one such process, and kills it when a PDF takes too much time or memory: nothing is known about
that PDF then, and the decision is left to Anthropic.
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
_CACHE_SIZE = 1000


@dataclass(frozen=True, kw_only=True)
class PdfInfo:
    """Result of an inspection. `pages`: None if they could not be counted; `locked`: it requires a password."""

    pages: int | None = None
    locked: bool = False
    broken: bool = False


class PdfInspector:
    """Inspects PDFs and caches the results by content. Shared by all threads, one at a time."""

    def __init__(self, *, timeout: float = 10.0, command: list[str] | None = None) -> None:
        self._timeout = timeout
        self._command = command or [sys.executable, "-m", __name__]
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cache: OrderedDict[bytes, PdfInfo] = OrderedDict()

    def inspect(self, pdf: bytes) -> PdfInfo:
        """Inspect a PDF. Never raises: the result is empty if inspection fails."""
        key = hashlib.sha256(pdf).digest()
        with self._lock:
            if (cached := self._cache.get(key)) is not None:
                return cached
            try:
                report = json.loads(self._request(pdf))
                info = PdfInfo(
                    pages=report.get("pages"), locked=report.get("locked", False), broken=report.get("broken", False)
                )
            except (OSError, ValueError) as exc:
                log.warning("PDF inspection failed", extra={"bytes": len(pdf), "error": str(exc)})
                self._kill()
                info = PdfInfo()
            self._cache[key] = info
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)

        return info

    def close(self) -> None:
        """Kill the process."""
        with self._lock:
            self._kill()

    def _request(self, pdf: bytes) -> bytes:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(len(pdf).to_bytes(8, "big"))
        process.stdin.write(pdf)
        process.stdin.flush()
        if not select.select([process.stdout], [], [], self._timeout)[0]:
            raise TimeoutError(f"inspection took longer than {self._timeout:g} seconds")
        if not (line := process.stdout.readline()):
            raise OSError("inspection took too much memory")

        return line

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close() if pipe else None


def main() -> None:
    """Run the inspection program."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()
    while len(length := sys.stdin.buffer.read(8)) == 8:
        pdf = sys.stdin.buffer.read(int.from_bytes(length, "big"))
        sys.stdout.write(json.dumps(_inspect(pdf)) + "\n")
        sys.stdout.flush()


def _inspect(pdf: bytes) -> dict[str, object]:
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
