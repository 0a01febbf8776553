"""Lines of the results of a batch. Pure."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from .accumulator import MalformedStream

log = logging.getLogger(__name__)

#: Maximum bytes of a line of results, which holds a complete answer.
_MAX_LINE = 64 * 1024 * 1024
#: Our own type of a result that cannot be parsed.
UNREADABLE = "unreadable"
#: Our own type of a result that is too long to be read, and the mark at the end of its first bytes.
OVERSIZED = "oversized"
_CUT = b"\0\n"
_NAMED_WITHIN = 4096
_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*"([A-Za-z0-9_-]{1,64})"')


def split_lines(chunks: Iterator[bytes], *, most: int = _MAX_LINE) -> Iterator[bytes]:
    """Lines of a chunked body with their line feeds. A truncated last line is yielded too, and fails to parse."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in lines if line.strip())
        if len(rest) > most:  # its end is not needed: it is the result of its item alone
            yield rest[:_NAMED_WITHIN] + _CUT
            rest = yield from _skip_line(chunks)
    if rest.strip():
        yield rest


def _skip_line(chunks: Iterator[bytes]) -> Generator[bytes, None, bytes]:
    """Skip the rest of a line; returns what came of the last line so far."""
    for chunk in chunks:
        _, found, more = chunk.partition(b"\n")
        if found:
            *lines, rest = more.split(b"\n")
            yield from (line + b"\n" for line in lines if line.strip())
            return rest

    return b""


def parse_result(line: bytes) -> tuple[str, Mapping[str, Any]] | None:
    """
    The item and its result; None for a line that belongs to no item.

    A complete line that is malformed is the result of its item alone; one that was cut is the end of the results.
    """
    try:
        entry = json.loads(line)
        custom_id, result = entry["custom_id"], entry["result"]
        if not isinstance(custom_id, str) or not isinstance(result, dict):
            raise TypeError("a string and an object were expected")
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        if not line.endswith(b"\n"):
            raise MalformedStream("a line of the results does not have the expected structure") from exc
        log.warning("a line of batch results is malformed")
        named = _CUSTOM_ID.search(line)
        kind = OVERSIZED if line.endswith(_CUT) else UNREADABLE
        return None if named is None else (named[1].decode(), {"type": kind})

    return custom_id, result
