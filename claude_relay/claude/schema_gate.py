"""Admission of schema checks: repeated schemas from a cache, large ones one at a time, a time limit per request."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import Busy

#: A schema of this many bytes as JSON is checked in about a millisecond, beside all others.
_SMALL = 2048
#: Requests that may wait for the check of a large schema; each occupies a thread of the API.
_WAITING = 6
_CACHED = 256
#: CPU time for the schemas of one bulk request, in seconds.
_SECONDS = 3.0

_TOO_LONG = "was not checked: the schemas of this request take too long to check; send fewer different ones at once"

Check = Callable[[dict[str, Any]], str | None]


class SchemaGate:
    """The check of schemas for all requests of a process."""

    def __init__(
        self,
        check: Callable[[Mapping[str, Any]], str | None],
        *,
        heavy: Callable[[Mapping[str, Any]], bool] = lambda schema: False,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`heavy`: whether a small schema takes as long as a large one; `clock`: the time spent for this thread."""
        self._check, self._heavy, self._clock = check, heavy, clock
        self._places, self._running = threading.BoundedSemaphore(_WAITING + 1), threading.Lock()
        self._cache: OrderedDict[bytes, str | None] = OrderedDict()
        self._cache_lock = threading.Lock()

    def problem(self, schema: dict[str, Any]) -> str | None:
        """Why the schema cannot be used; raises `Busy` when too many large ones are waiting to be checked."""
        text = json.dumps(schema, ensure_ascii=False).encode("utf-8", "surrogatepass")
        key = hashlib.sha256(text).digest()
        with self._cache_lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        large = len(text) > _SMALL or self._heavy(schema)
        problem = self._check_large(schema) if large else self._check(schema)
        with self._cache_lock:
            self._cache[key] = problem
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)

        return problem

    def for_one_request(self) -> Check:
        """The same check for the items of one request, which share a limit of time."""
        left = _SECONDS

        def problem(schema: dict[str, Any]) -> str | None:
            nonlocal left
            if left <= 0:
                return _TOO_LONG
            began = self._clock()  # the caller's own: waiting for others does not count
            try:
                return self.problem(schema)
            finally:
                left -= self._clock() - began

        return problem

    def _check_large(self, schema: dict[str, Any]) -> str | None:
        if not self._places.acquire(blocking=False):
            raise Busy(
                "Too many large values of options.outputSchema are being checked; try again soon.", retry_after=2
            )
        try:
            with self._running:
                return self._check(schema)
        finally:
            self._places.release()
