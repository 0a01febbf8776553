"""Files that a job names by URL: fetched once, stored, and put into its request."""

from __future__ import annotations

import base64
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..core.files.fetched import MOST_BYTES, FetchedFile, classify_fetch
from ..core.jobs.failure import Failure, job_lost
from ..errors import LeaseLost
from ..ports import Fetcher
from ..services import ClaimedJob, Relay
from .memory_budget import ByteSemaphore, Reservation
from .store_retry import StopCheck, retry_while_unavailable

log = logging.getLogger(__name__)

#: Bytes of the files of all calls of this worker together. As base64 and as JSON, each is in memory two or three times.
_MEMORY = 2 * MOST_BYTES


class Files:
    """
    Completes requests with the bytes of their files.

    It runs between the claim and the first byte to Claude, so that nothing was sent if it fails.
    """

    def __init__(
        self,
        relay: Relay,
        fetcher: Fetcher,
        *,
        most: int = MOST_BYTES,
        memory: int = _MEMORY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`most`: bytes of one request's files; `memory`: bytes of all of them at once."""
        self._relay, self._fetcher, self._most, self._clock = relay, fetcher, most, clock
        self._memory = ByteSemaphore(memory)

    @contextlib.contextmanager
    def with_files(
        self,
        claimed: ClaimedJob,
        stop: StopCheck,
        suspend: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Iterator[dict[str, Any] | Failure]:
        """
        The request with every file's bytes in it, for as long as the block lasts; or the reason for none.

        `suspend` is entered while files are fetched: a slow file server must not take capacity from calls.
        """
        request = claimed.request.request
        if not any("url" in file for file in request.get("files") or ()):
            yield request
            return

        with self._memory.reserve() as reservation:
            with suspend():
                files = self._load(claimed, request["files"], reservation, stop)
            yield replace(files, sent=False) if isinstance(files, Failure) else {**request, "files": files}

    def _load(
        self, claimed: ClaimedJob, files: Any, reservation: Reservation, stop: StopCheck
    ) -> list[dict[str, Any]] | Failure:
        try:
            stored = self._fetch_missing(claimed, files, stop)
        except LeaseLost:
            return job_lost()
        if isinstance(stored, Failure):
            return stored
        size = sum(file.size for file in stored.values())
        if not reservation.grow(size, stop) and (reason := stop()) is not None:
            return reason

        return retry_while_unavailable(lambda: self._fill(claimed, files, stored), stop)

    def _fetch_missing(self, claimed: ClaimedJob, files: Any, stop: StopCheck) -> dict[int, FetchedFile] | Failure:
        """Every file by its number: those that an earlier attempt stored, and the others, fetched now."""
        existing = retry_while_unavailable(lambda: self._relay.fetched_files.list(claimed), stop)
        if isinstance(existing, Failure):
            return existing
        stored = {file.number: file for file in existing}
        left = self._most - sum(file.size for file in stored.values())
        left -= sum(len(file["data"]) * 3 // 4 for file in files if "data" in file)
        for number, file in enumerate(files):
            if "url" not in file or number in stored:
                continue
            fetched = self._fetch(claimed, file, number, max(left, 0), stop)
            if isinstance(fetched, Failure):
                return fetched
            stored[number] = fetched
            left -= fetched.size

        return stored

    def _fetch(
        self, claimed: ClaimedJob, file: Mapping[str, Any], number: int, most: int, stop: StopCheck
    ) -> FetchedFile | Failure:
        with self._memory.reserve() as reservation:
            began = time.monotonic()
            result = self._fetcher.fetch(
                file["url"], max_bytes=most, stop=stop, reserve=lambda size: reservation.grow(size, stop)
            )
            ms = round((time.monotonic() - began) * 1000)
            if (reason := stop()) is not None:
                return reason
            fetched = classify_fetch(result, file, number=number, now=self._clock())
            fields = {"requestId": claimed.job.request_id, "host": result.host, "statusCode": result.status, "ms": ms}
            if isinstance(fetched, Failure):
                log.warning("file not fetched", extra={**fields, "reason": fetched.reason})
                return fetched
            failure = retry_while_unavailable(
                lambda: self._relay.fetched_files.keep(claimed, fetched, result.data, ms=ms), stop
            )
            if isinstance(failure, Failure):
                return failure
            log.info("file fetched", extra={**fields, "bytes": fetched.size})

            return fetched

    def _fill(self, claimed: ClaimedJob, files: Any, stored: Mapping[int, FetchedFile]) -> list[dict[str, Any]]:
        return [
            self._with_data(claimed, stored[number]) if number in stored else file for number, file in enumerate(files)
        ]

    def _with_data(self, claimed: ClaimedJob, file: FetchedFile) -> dict[str, Any]:
        data = base64.b64encode(self._relay.fetched_files.data(claimed, file)).decode()

        return {"data": data, "mediaType": file.media_type, **({"name": file.name} if file.name else {})}
