"""
The files of one call: held against Anthropic's limits before anything is sent, and stored there where that is better.

What is large is uploaded once and named by its id from then on, so that retries, other jobs and later turns do not send
it again. It expires there by itself, after the time that this relay would keep it.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.files.media_size import image_size
from ..core.files.uploaded import UploadedFile
from ..core.jobs.failure import ErrorType, Failure, Remedy
from ..core.jobs.job import Retain
from ..core.jobs.submission import Exchange
from ..errors import StoreUnavailable
from ..ports import CallRequest, UploadCache
from .client import AnthropicClient, StatusError
from .pdf_inspector import PdfInspector

log = logging.getLogger(__name__)

#: Larger files are stored at Anthropic, in bytes.
LARGE = 4_000_000

#: What may travel inside of one request, of the 32 MB that it may have: the rest is for the texts.
MAX_INLINE = 30_000_000

#: Anthropic keeps a file for at least an hour and at most ninety days.
_SHORTEST, _LONGEST = 3600, 7_776_000

#: Answers of an upstream that stores no files; it is asked again after an hour.
_UNABLE, _AGAIN = (400, 403, 404, 405, 501), 3600.0

_SMALL_WINDOW = 200_000
_MOST = {True: 100, False: 600}  # pages, and images, by whether the model's window is a small one
#: Letters of base64, a multiple of four, in which an image says how large it is.
_START = 350_000
_MOST_PIXELS, _MOST_PIXELS_OF_MANY, _MANY = 8000, 2000, 20
_EXTENSIONS = {"application/pdf": "pdf", "image/png": "png", "image/jpeg": "jpg", "image/gif": "gif"}


class FilesTooLarge(Exception):
    """The files are not what Claude takes; the failure says so."""

    def __init__(self, message: str, *, kind: ErrorType = ErrorType.TOO_LARGE, reason: str) -> None:
        super().__init__(message)
        self.failure = Failure(type=kind, message=message, remedy=Remedy.FAIL, sent=False, reason=reason)


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """A prompt as it can be sent, the files at Anthropic that it names, and what its PDFs may be refused for."""

    prompt: CallRequest
    used: Sequence[UploadedFile] = ()
    broken: Sequence[str] = ()


@dataclass
class _File:
    """One file with its bytes: `turn` counts the requests of the conversation, `number` its files."""

    turn: int
    number: int
    entry: Mapping[str, Any] = field(repr=False)
    last: bool  # of the request itself rather than of an earlier turn

    @property
    def at(self) -> str:
        return f"files[{self.number}]" if self.last else f"files[{self.number}] of an earlier turn"

    @property
    def size(self) -> int:
        return len(self.entry["data"]) * 3 // 4

    @property
    def data(self) -> bytes:
        return base64.b64decode(self.entry["data"])


class FileUploads:
    """
    Makes prompts ready. All threads share one of these.

    `window` tells how many tokens a model reads, where that is known; `keep` is how long files stay at Anthropic.
    """

    def __init__(
        self,
        upstream: AnthropicClient,
        inspector: PdfInspector,
        *,
        shelf: UploadCache | None,
        account: str,
        keep: float,
        window: Callable[[str], int | None],
        wall: Callable[[], float],
        large: int = LARGE,
    ) -> None:
        self._upstream, self._inspector, self._shelf, self._account = upstream, inspector, shelf, account
        self._keep, self._window, self._wall, self._large = keep, window, wall, large
        self._unable_until = float("-inf")
        self._lock = threading.Lock()
        self._uploading: dict[str, threading.Lock] = {}

    def ready(self, prompt: CallRequest) -> PreparedRequest:
        """
        The prompt, checked, its large files replaced by their ids.

        Raises `TooMuch`; and `Refused` or `Broken` where a file could not be stored.
        """
        requests = [*(one.request for one in prompt.history), prompt.request]
        files = list(_files(requests))
        if not files:
            return PreparedRequest(prompt=prompt)

        broken = self._check(files, prompt.job.model)
        private = prompt.job.retain is Retain.METADATA
        used: list[UploadedFile] = []
        for file in self._chosen(files, private=private):
            try:
                stored = self._stored(file, private=private)
            except StatusError as exc:
                if exc.status not in _UNABLE or sum(len(one.entry["data"]) for one in files) > MAX_INLINE:
                    raise
                # A gateway, or a key, that stores no files: they have room inside of the request, as ever.
                log.warning("files cannot be stored upstream", extra={"statusCode": exc.status})
                self._unable_until = self._wall() + _AGAIN
                return PreparedRequest(prompt=prompt, broken=broken)
            used.append(stored)
            named = {name: value for name, value in file.entry.items() if name != "data"}
            request = requests[file.turn]
            listed = list(request["files"])
            listed[file.number] = {**named, "fileId": stored.file_id}
            requests[file.turn] = {**request, "files": listed}
        before = [
            Exchange(request=dict(request), answer=one.answer)
            for one, request in zip(prompt.history, requests, strict=False)
        ]

        return PreparedRequest(
            prompt=replace(prompt, request=dict(requests[-1]), history=before), used=used, broken=broken
        )

    def check(self, prompt: CallRequest) -> None:
        """Raises `TooMuch` for what would surely be refused. Nothing is stored anywhere."""
        files = list(_files([*(one.request for one in prompt.history), prompt.request]))
        if files:
            self._check(files, prompt.job.model)

    def forget_missing(self, used: Sequence[UploadedFile]) -> bool:
        """Of these files, forget those that Anthropic does not have any more; whether there were any."""
        missing = [file for file in used if not self._upstream.has_file(file.file_id)]
        for file in missing:
            log.info("a stored file is gone upstream", extra={"file": file.file_id})
            if self._shelf is not None:
                self._shelf.delete(file)

        return bool(missing)

    def _check(self, files: Sequence[_File], model: str) -> list[str]:
        """Refuse what would surely be refused; answers which PDFs could not be read here, which proves nothing yet."""
        window = self._window(model)
        most = _MOST[window is not None and window <= _SMALL_WINDOW]
        pages, broken, images = 0, [], 0
        for file in files:
            if _is_image(file):
                images += 1
            elif file.entry.get("mediaType") == "application/pdf":
                look = self._inspector.look(file.data)
                if look.locked:
                    message = f"{file.at} opens with a password only: save it without one, and send that"
                    raise FilesTooLarge(message, kind=ErrorType.INVALID_REQUEST, reason="pdf_locked")
                if look.broken:
                    broken.append(file.at)
                pages += look.pages or 0
        if pages > most:
            message = f"the PDFs have {pages} pages in all, and {model} takes at most {most} in one request: send fewer"
            raise FilesTooLarge(message, reason="too_many_pages")
        if images > most:
            message = f"there are {images} images, and {model} takes at most {most} in one request: send fewer"
            raise FilesTooLarge(message, reason="too_many_images")
        limit = _MOST_PIXELS_OF_MANY if images > _MANY else _MOST_PIXELS
        for file in files:
            size = image_size(base64.b64decode(file.entry["data"][:_START])) if _is_image(file) else None
            if size is not None and max(size) > limit:
                many = f" where there are more than {_MANY}" if images > _MANY else ""
                message = f"{file.at} is {size[0]} × {size[1]} pixels; Claude takes at most {limit} each way{many}"
                raise FilesTooLarge(message, reason="too_many_pixels")

        return broken

    def _chosen(self, files: Sequence[_File], *, private: bool) -> list[_File]:
        """
        Which to store: the large ones, and then the largest until the rest has room inside of the request.

        What is to be erased on delivery (`private`) is stored only where there is no room for it.
        """
        if self._shelf is None or self._wall() < self._unable_until:
            return []
        by_size = sorted(files, key=lambda file: -file.size)
        inside = sum(len(file.entry["data"]) for file in files)
        chosen: list[_File] = []
        for file in by_size:
            if inside <= MAX_INLINE and (private or file.size < self._large):
                break
            chosen.append(file)
            inside -= len(file.entry["data"])

        return chosen

    def _stored(self, file: _File, *, private: bool) -> UploadedFile:
        assert self._shelf is not None
        data = file.data
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            mine = self._uploading.setdefault(digest, threading.Lock())
        # Of several jobs with the same file, one uploads it and the others wait for that.
        with mine:
            try:
                found = self._shelf.find(self._account, digest)
                if found is None:
                    found = self._upload(file, data, digest, private=private)
                    self._keep_in_mind(found)
            finally:
                with self._lock:
                    self._uploading.pop(digest, None)

        return found

    def _keep_in_mind(self, file: UploadedFile) -> None:
        assert self._shelf is not None
        try:
            self._shelf.save(file)
        except StoreUnavailable as exc:
            # The next job uploads it once more; this one has it.
            log.warning("a stored file could not be noted", extra={"file": file.file_id, "error": str(exc)})

    def _upload(self, file: _File, data: bytes, digest: str, *, private: bool) -> UploadedFile:
        life = _SHORTEST if private else int(min(max(self._keep, _SHORTEST), _LONGEST))
        kind = str(file.entry.get("mediaType") or "application/pdf")
        # Not the caller's name for it, which may say more than the content.
        name = f"{digest[:16]}.{_EXTENSIONS.get(kind, 'webp')}"
        file_id = self._upstream.upload(name, data, media_type=kind, expires_in_seconds=life)
        log.info("a file was stored upstream", extra={"file": file_id, "bytes": len(data), "seconds": life})

        return UploadedFile(
            account=self._account, sha256=digest, file_id=file_id, size=len(data), expires_at=self._wall() + life
        )


def _files(requests: Sequence[Mapping[str, Any]]) -> Iterator[_File]:
    for turn, request in enumerate(requests):
        for number, entry in enumerate(request.get("files") or ()):
            if isinstance(entry.get("data"), str):
                yield _File(turn, number, entry, last=turn == len(requests) - 1)


def _is_image(file: _File) -> bool:
    return str(file.entry.get("mediaType")).startswith("image/")
