"""HTTP response of `http.client` that cannot take much memory before its body begins."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from typing import Any

#: Bytes of a response's head and any interim responses. The library's own limit is a hundred lines of 64 kB, with
#: which each receiver could take 50 MB of memory.
MAX_HEAD = 65_536
#: Bytes of chunk-size lines and trailers of a chunked body. The library has no limit for them.
_MAX_CHUNK_LINES = 2**20


class _BoundedLines:
    """Reader that limits the total size of a response's lines; the body itself is read directly from the file."""

    def __init__(self, max_bytes: int) -> None:
        self._remaining = max_bytes
        self._file: Any = None

    @contextlib.contextmanager
    def count(self, response: http.client.HTTPResponse) -> Iterator[None]:
        """Replace the response's file while the block runs."""
        self._file = response.fp
        response.fp = self  # type: ignore[assignment]
        try:
            yield
        finally:
            if response.fp is not None:  # not closed meanwhile
                response.fp = self._file

    def readline(self, limit: int) -> bytes:
        line: bytes = self._file.readline(min(limit, self._remaining + 1))
        self._remaining -= len(line)
        if self._remaining < 0:
            raise http.client.LineTooLong("line")
        return line

    def close(self) -> None:
        self._file.close()


class BoundedResponse(http.client.HTTPResponse):
    """Response with bounded lines. Skips the interim responses 102 and 103, as the base class does 100."""

    def begin(self) -> None:
        self._chunk_lines = _BoundedLines(_MAX_CHUNK_LINES)
        with _BoundedLines(MAX_HEAD).count(self):
            super().begin()

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status not in (http.client.PROCESSING, http.client.EARLY_HINTS):
                return version, status, reason
            http.client.parse_headers(self.fp)

    def _read_next_chunk_size(self) -> int:
        with self._chunk_lines.count(self):
            size: int = super()._read_next_chunk_size()  # type: ignore[misc]
            return size

    def _read_and_discard_trailer(self) -> None:
        with self._chunk_lines.count(self):
            super()._read_and_discard_trailer()  # type: ignore[misc]
