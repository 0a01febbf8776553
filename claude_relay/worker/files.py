"""A job's files by address: fetched once, kept, and put into its request."""

from __future__ import annotations

import base64
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..core.files.fetched import MOST_BYTES, FetchedFile, classify_fetch
from ..core.jobs.failure import ErrorType, Failure, Remedy
from ..errors import LeaseLost, StoreUnavailable
from ..ports import Fetcher
from ..services import ClaimedJob, Relay
from .memory_budget import ByteSemaphore, Reservation

T = TypeVar("T")
Stop = Callable[[], Failure | None]
log = logging.getLogger(__name__)

#: The files of all calls of this worker together, in bytes. As base64 and as JSON each is there two or three times.
_IN_HAND = 2 * MOST_BYTES

#: How long to wait before a store that could not be used is asked again, in seconds.
_PAUSE = 0.5


class Files:
    """
    Makes requests whole.

    It runs between the claim and the first byte to Claude, so that whatever goes wrong here has sent nothing.
    """

    def __init__(
        self,
        relay: Relay,
        fetcher: Fetcher,
        *,
        most: int = MOST_BYTES,
        in_hand: int = _IN_HAND,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._relay, self._fetcher, self._most, self._clock = relay, fetcher, most, clock
        self._room = ByteSemaphore(in_hand)

    @contextlib.contextmanager
    def whole(
        self,
        claimed: ClaimedJob,
        stop: Stop,
        aside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Iterator[dict[str, Any] | Failure]:
        """
        The request with every file's bytes in it, for as long as the block lasts; or why there is none.

        `aside` is entered meanwhile: whoever is served slowly here must not stand in the way of calls.
        """
        request = claimed.request.request
        if not any("url" in file for file in request.get("files") or ()):
            yield request
            return

        with self._room.reserve() as share:
            with aside():
                files = self._made(claimed, request["files"], share, stop)
            yield replace(files, sent=False) if isinstance(files, Failure) else {**request, "files": files}

    def _made(self, claimed: ClaimedJob, files: Any, share: Reservation, stop: Stop) -> list[dict[str, Any]] | Failure:
        try:
            kept = self._fetched(claimed, files, stop)
        except LeaseLost:
            return Failure(type=ErrorType.INTERRUPTED, message="another worker has the job", remedy=Remedy.RETRY)
        if isinstance(kept, Failure):
            return kept
        if not share.grow(sum(file.size for file in kept.values()), stop) and (ended := stop()) is not None:
            return ended

        return retry_while_unavailable(lambda: self._filled(claimed, files, kept), stop)

    def _fetched(self, claimed: ClaimedJob, files: Any, stop: Stop) -> dict[int, FetchedFile] | Failure:
        """Every file by its number: those of an earlier try, and now the others."""
        known = retry_while_unavailable(lambda: self._relay.fetched_files.list(claimed), stop)
        if isinstance(known, Failure):
            return known
        kept = {file.number: file for file in known}
        left = self._most - sum(file.size for file in kept.values())
        left -= sum(len(file["data"]) * 3 // 4 for file in files if "data" in file)
        for number, file in enumerate(files):
            if "url" not in file or number in kept:
                continue
            one = self._fetch(claimed, file, number, max(left, 0), stop)
            if isinstance(one, Failure):
                return one
            kept[number] = one
            left -= one.size

        return kept

    def _fetch(
        self, claimed: ClaimedJob, file: Mapping[str, Any], number: int, most: int, stop: Stop
    ) -> FetchedFile | Failure:
        with self._room.reserve() as share:
            began = time.monotonic()
            fetched = self._fetcher.fetch(file["url"], most=most, stop=stop, room=lambda size: share.grow(size, stop))
            ms = round((time.monotonic() - began) * 1000)
            if (ended := stop()) is not None:
                return ended
            one = classify_fetch(fetched, file, number=number, now=self._clock())
            told = {"requestId": claimed.job.request_id, "host": fetched.host, "statusCode": fetched.status, "ms": ms}
            if isinstance(one, Failure):
                log.warning("file not fetched", extra={**told, "reason": one.reason})
                return one
            stored = retry_while_unavailable(
                lambda: self._relay.fetched_files.keep(claimed, one, fetched.data, ms=ms), stop
            )
            if isinstance(stored, Failure):
                return stored
            log.info("file fetched", extra={**told, "bytes": one.size})

            return one

    def _filled(self, claimed: ClaimedJob, files: Any, kept: Mapping[int, FetchedFile]) -> list[dict[str, Any]]:
        return [self._with_data(claimed, kept[number]) if number in kept else file for number, file in enumerate(files)]

    def _with_data(self, claimed: ClaimedJob, file: FetchedFile) -> dict[str, Any]:
        data = base64.b64encode(self._relay.fetched_files.data(claimed, file)).decode()

        return {"data": data, "mediaType": file.media_type, **({"name": file.name} if file.name else {})}


def retry_while_unavailable(ask: Callable[[], T], stop: Stop) -> T | Failure:
    """Keep asking: nothing was sent yet, and a store that is away for a while costs no try and no second fetch."""
    while True:
        try:
            return ask()
        except StoreUnavailable as exc:
            if (ended := stop()) is not None:
                return ended
            log.error("a call waits for the store", extra={"error": str(exc)})
            time.sleep(_PAUSE)
