"""The check of the complete store at the start of a daemon, or of a large file while it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from ..errors import RelayError, StoreRefused
from ..services import Relay

log = logging.getLogger(__name__)

#: The largest file that is read before the start, in bytes: *measured*, a store of a million jobs took 27 s.
LARGEST_AT_START = 64 * 2**20


class StoreCheck:
    """
    The check of a store, which refuses a damaged one before the start and stops the daemon later.

    The page that a statement reads is checked by SQLite in any case.
    """

    def __init__(self, relay: Relay, file: Path | None) -> None:
        """`file` is None for a store that a server keeps."""
        self._relay = relay
        self._fault: StoreRefused | None = None
        self._large = file is not None and file.stat().st_size > LARGEST_AT_START

    def before_start(self) -> None:
        """Check a small store. Raises `StoreRefused`."""
        if not self._large:
            self._check()
            self._raise_fault()

    def while_running(self, run: Callable[[], int], stop: Callable[[], None]) -> int:
        """Check a large store while the daemon runs, and `stop` it if that must be. Raises `StoreRefused` then."""
        if self._large:
            threading.Thread(target=self._check_and_stop, args=(stop,), name="store-check", daemon=True).start()
        code = run()
        self._raise_fault()

        return code

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _check(self) -> None:
        try:
            if (fault := self._relay.queries.check()) is not None:
                self._fault = StoreRefused(
                    f"the store is corrupt: {fault}. Nothing more is written to it. Keep the file, and restore the "
                    f"latest backup."
                )
        except StoreRefused as exc:
            self._fault = exc

    def _check_and_stop(self, stop: Callable[[], None]) -> None:
        try:
            self._check()
        except RelayError as exc:
            log.warning("the store could not be checked", extra={"error": str(exc)})
        if self._fault is not None:
            log.error("stopping: %s", self._fault)
            stop()
