"""
Files of a call: checked against Anthropic's limits before anything is sent, and uploaded if large.

A large file is uploaded once and referred to by its id from then on, so that retries, other jobs and later turns do not
send it again. It expires at Anthropic after this relay's own retention.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from ..core.files.media_size import image_size
from ..core.files.uploaded import UploadedFile
from ..core.jobs.failure import ErrorType, Failure, Remedy
from ..core.jobs.job import Retain
from ..core.jobs.submission import Exchange
from ..core.lazy_dataclass import dataclass
from ..errors import StoreUnavailable
from ..ports import CallRequest, UploadCache
from .client import AnthropicClient, StatusError
from .pdf_inspector import PdfInspector

log = logging.getLogger(__name__)

#: Files of at least this size, in bytes, are uploaded.
LARGE = 4_000_000

#: Base64 characters of files in one request, out of its limit of 32 MB; the rest is for the text.
MAX_INLINE = 30_000_000

#: Anthropic keeps a file for at least an hour and at most ninety days.
_MIN_LIFETIME, _MAX_LIFETIME = 3600, 7_776_000

#: Statuses of an upstream without file storage, and the seconds until uploads are attempted again.
_UNSUPPORTED, _RETRY_SECONDS = (400, 403, 404, 405, 501), 3600.0

_SMALL_WINDOW = 200_000
_MAX_COUNT = {True: 100, False: 600}  # pages, and images, by whether the context window is small
#: Base64 characters, a multiple of four, that contain the header of an image with its size.
_IMAGE_HEADER = 350_000
_MAX_PIXELS, _MAX_PIXELS_OF_MANY, _MANY = 8000, 2000, 20
_EXTENSIONS = {"application/pdf": "pdf", "image/png": "png", "image/jpeg": "jpg", "image/gif": "gif"}


class FilesTooLarge(Exception):
    """Claude does not accept the files; `failure` has the reason."""

    def __init__(self, message: str, *, kind: ErrorType = ErrorType.TOO_LARGE, reason: str) -> None:
        super().__init__(message)
        self.failure = Failure(type=kind, message=message, remedy=Remedy.FAIL, sent=False, reason=reason)


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """A prompt ready to send. `used`: the uploaded files; `broken`: PDFs that could not be parsed."""

    prompt: CallRequest
    used: Sequence[UploadedFile] = ()
    broken: Sequence[str] = ()


@dataclass
class _File:
    """One inline file. `turn`: index of its request in the conversation; `number`: index in that request."""

    turn: int
    number: int
    entry: Mapping[str, Any] = field(repr=False)
    last: bool  # belongs to the request itself, not to an earlier turn

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
    Prepares the files of prompts. Shared by all threads.

    `window` returns the context window of a model, if known; `keep` is the lifetime of files at Anthropic.
    """

    def __init__(
        self,
        upstream: AnthropicClient,
        inspector: PdfInspector,
        *,
        cache: UploadCache | None,
        account: str,
        keep: float,
        window: Callable[[str], int | None],
        wall: Callable[[], float],
        large: int = LARGE,
    ) -> None:
        self._upstream, self._inspector, self._cache, self.account = upstream, inspector, cache, account
        self._keep, self._window, self._wall, self._large = keep, window, wall, large
        self._unsupported_until = float("-inf")
        self._lock = threading.Lock()
        self._uploading: dict[str, threading.Lock] = {}

    def prepare(self, prompt: CallRequest) -> PreparedRequest:
        """
        Check the files and replace the large ones by the ids of their uploads.

        Raises `FilesTooLarge`, and `StatusError` or `ConnectionBroken` if an upload failed.
        """
        requests = _requests(prompt)
        files = list(_files(requests))
        if not files:
            return PreparedRequest(prompt=prompt)

        broken = self._check(files, prompt.job.model)
        private = prompt.job.retain is Retain.METADATA
        used: list[UploadedFile] = []
        for file in self._to_upload(files, private=private):
            try:
                stored = self._uploaded(file, private=private)
            except StatusError as exc:
                if exc.status not in _UNSUPPORTED or _inline_size(files) > MAX_INLINE:
                    raise
                # A gateway or key without file storage: the files fit into the request.
                log.warning("files cannot be uploaded", extra={"statusCode": exc.status})
                self._unsupported_until = self._wall() + _RETRY_SECONDS
                return PreparedRequest(prompt=prompt, broken=broken)
            used.append(stored)
            metadata = {name: value for name, value in file.entry.items() if name != "data"}
            request = requests[file.turn]
            entries = list(request["files"])
            entries[file.number] = {**metadata, "fileId": stored.file_id}
            requests[file.turn] = {**request, "files": entries}
        history = [
            Exchange(request=dict(request), answer=exchange.answer)
            for exchange, request in zip(prompt.history, requests, strict=False)
        ]

        return PreparedRequest(
            prompt=replace(prompt, request=dict(requests[-1]), history=history), used=used, broken=broken
        )

    def any(self, prompt: CallRequest) -> bool:
        """Whether there are files to inspect or upload."""
        return next(_files(_requests(prompt)), None) is not None

    def check(self, prompt: CallRequest) -> None:
        """Raise `FilesTooLarge` for files that Claude certainly refuses. Uploads nothing."""
        files = list(_files(_requests(prompt)))
        if files:
            self._check(files, prompt.job.model, quick=True)

    def forget_missing(self, used: Sequence[UploadedFile]) -> bool:
        """Remove uploads from the cache that Anthropic no longer stores; returns whether there were any."""
        missing = [file for file in used if not self._upstream.has_file(file.file_id)]
        for file in missing:
            log.info("uploaded file no longer stored upstream", extra={"file": file.file_id})
            if self._cache is not None:
                self._cache.delete(file)

        return bool(missing)

    def _check(self, files: Sequence[_File], model: str, *, quick: bool = False) -> list[str]:
        """
        Raise `FilesTooLarge` for certain refusals; returns the unparsable PDFs, which Claude may still accept.

        `quick`: in a thread that prepares the requests of many jobs.
        """
        window = self._window(model)
        limit = _MAX_COUNT[window is not None and window <= _SMALL_WINDOW]
        pages, broken, images = 0, [], 0
        for file in files:
            if _is_image(file):
                images += 1
            elif file.entry.get("mediaType") == "application/pdf":
                info = self._inspector.inspect(file.data, quick=quick)
                if info.locked:
                    message = f"{file.at} requires a password: save it without one and send that"
                    raise FilesTooLarge(message, kind=ErrorType.INVALID_REQUEST, reason="pdf_locked")
                if info.broken:
                    broken.append(file.at)
                pages += info.pages or 0
        if pages > limit:
            message = (
                f"the PDFs have {pages} pages in total, but {model} accepts at most {limit} per request: send fewer"
            )
            raise FilesTooLarge(message, reason="too_many_pages")
        if images > limit:
            message = f"there are {images} images, but {model} accepts at most {limit} per request: send fewer"
            raise FilesTooLarge(message, reason="too_many_images")
        max_pixels = _MAX_PIXELS_OF_MANY if images > _MANY else _MAX_PIXELS
        for file in files:
            size = image_size(base64.b64decode(file.entry["data"][:_IMAGE_HEADER])) if _is_image(file) else None
            if size is not None and max(size) > max_pixels:
                many = f" with more than {_MANY} images" if images > _MANY else ""
                message = (
                    f"{file.at} is {size[0]} × {size[1]} pixels; Claude accepts at most {max_pixels} each way{many}"
                )
                raise FilesTooLarge(message, reason="too_many_pixels")

        return broken

    def _to_upload(self, files: Sequence[_File], *, private: bool) -> list[_File]:
        """
        Select the files to upload: the large ones, then the largest until the rest fits into the request.

        Files to be erased on delivery (`private`) are uploaded only if they do not fit.
        """
        if self._cache is None or self._wall() < self._unsupported_until:
            return []
        by_size = sorted(files, key=lambda file: -file.size)
        inline = _inline_size(files)
        chosen: list[_File] = []
        for file in by_size:
            if inline <= MAX_INLINE and (private or file.size < self._large):
                break
            chosen.append(file)
            inline -= len(file.entry["data"])

        return chosen

    def _uploaded(self, file: _File, *, private: bool) -> UploadedFile:
        assert self._cache is not None
        data = file.data
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            upload_lock = self._uploading.setdefault(digest, threading.Lock())
        # Of several jobs with the same file, one uploads it and the others wait.
        with upload_lock:
            try:
                uploaded = self._cache.find(self.account, digest)
                if uploaded is None:
                    uploaded = self._upload(file, data, digest, private=private)
                    self._remember(uploaded)
            finally:
                with self._lock:
                    self._uploading.pop(digest, None)

        return uploaded

    def _remember(self, file: UploadedFile) -> None:
        assert self._cache is not None
        try:
            self._cache.save(file)
        except StoreUnavailable as exc:
            # The next job uploads the file again; this one has its id.
            log.warning("upload could not be recorded", extra={"file": file.file_id, "error": str(exc)})

    def _upload(self, file: _File, data: bytes, digest: str, *, private: bool) -> UploadedFile:
        lifetime = _MIN_LIFETIME if private else int(min(max(self._keep, _MIN_LIFETIME), _MAX_LIFETIME))
        kind = str(file.entry.get("mediaType") or "application/pdf")
        # Not the caller's file name, which may be more revealing than the content.
        name = f"{digest[:16]}.{_EXTENSIONS.get(kind, 'webp')}"
        file_id = self._upstream.upload(name, data, media_type=kind, expires_in_seconds=lifetime)
        log.info("file uploaded", extra={"file": file_id, "bytes": len(data), "seconds": lifetime})

        return UploadedFile(
            account=self.account, sha256=digest, file_id=file_id, size=len(data), expires_at=self._wall() + lifetime
        )


def _requests(prompt: CallRequest) -> list[Mapping[str, Any]]:
    return [*(exchange.request for exchange in prompt.history), prompt.request]


def _files(requests: Sequence[Mapping[str, Any]]) -> Iterator[_File]:
    for turn, request in enumerate(requests):
        for number, entry in enumerate(request.get("files") or ()):
            if isinstance(entry.get("data"), str):
                yield _File(turn, number, entry, last=turn == len(requests) - 1)


def _inline_size(files: Sequence[_File]) -> int:
    return sum(len(file.entry["data"]) for file in files)


def _is_image(file: _File) -> bool:
    return str(file.entry.get("mediaType")).startswith("image/")
