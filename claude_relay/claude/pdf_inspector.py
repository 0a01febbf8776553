"""Inspection of PDFs, which can be crafted to use up memory and time, in bounded processes."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict

from ..core.lazy_dataclass import dataclass
from .bounded_process import PROCESSES, BoundedProcesses, NoProcess, WorkFailed

log = logging.getLogger(__name__)

_CACHE_SIZE = 1000
#: Seconds for which a PDF waits for a process: the result only saves a call that Claude would refuse.
_WAIT = 20.0


@dataclass(frozen=True, kw_only=True)
class PdfInfo:
    """Result of an inspection. `pages`: None if they could not be counted; `locked`: it requires a password."""

    pages: int | None = None
    locked: bool = False
    broken: bool = False


class PdfInspector:
    """Inspects PDFs and caches the results by content. Shared by all threads."""

    def __init__(self, processes: BoundedProcesses = PROCESSES) -> None:
        self._processes = processes
        self._lock = threading.Lock()
        self._cache: OrderedDict[bytes, PdfInfo] = OrderedDict()

    def inspect(self, pdf: bytes, *, quick: bool = False) -> PdfInfo:
        """
        Inspect a PDF. Never raises: the result is empty if inspection fails, and the decision is left to Anthropic.

        `quick`: give up after the time limit of quick tasks.
        """
        key = hashlib.sha256(pdf).digest()
        with self._lock:
            if (cached := self._cache.get(key)) is not None:
                return cached
        try:
            report = self._processes.run("pdf", pdf, wait=_WAIT, quick=quick)
            info = PdfInfo(
                pages=report.get("pages"), locked=report.get("locked", False), broken=report.get("broken", False)
            )
        except WorkFailed as exc:
            log.warning("PDF not inspected", extra={"bytes": len(pdf), "reason": exc.reason})
            info = PdfInfo()
            if isinstance(exc, NoProcess) or (quick and exc.reason == "time"):
                return info  # which says nothing of the PDF
        with self._lock:
            self._cache[key] = info
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)

        return info

    def close(self) -> None:
        """End the idle processes."""
        self._processes.close()
