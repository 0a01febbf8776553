"""
A request on its way through the app, and its response.

Of the tasks of waitress 3.0.2 it overrides `service` and `finish`.
"""

from __future__ import annotations

import functools
import io
from typing import Any

from waitress.task import WSGITask
from waitress.utilities import build_http_date

from .admission import ENVIRON
from .deferred_response import ENVIRON as DEFERRED
from .deferred_response import ResponseDeferred
from .event_streams import ENVIRON as STREAM
from .event_streams import StreamOpener


class RequestTask(WSGITask):
    """
    Passes a request to the app: complete, or its head alone while the body is on its way.

    To a head alone the app answers 100, which is sent if the client waits for it; any other status is the response.
    """

    wrote_header: bool

    def __init__(self, channel: Any, request: Any) -> None:
        super().__init__(channel, request)
        self._opener = StreamOpener()

    def service(self) -> None:
        """Answer the request, or send its deferred response; a stream that could not begin gives its place back."""
        deferred = self.request.deferred
        if deferred.content:
            self.close_on_finish = deferred.closes
            self.channel.write_soon(deferred.content)
            return
        try:
            super().service()
        finally:
            if self._opener.start is not None:
                self._opener.abandon()
        if deferred.store is not None:
            raise ResponseDeferred

    def finish(self) -> None:
        """End the response, or begin the stream that it opens: its connection stays, and this thread is free."""
        start = self._opener.start
        if start is None:
            super().finish()
            return
        self.write(b"")
        self.close_on_finish = False  # by its head the connection ends with the stream
        self._opener.start = None
        start(self.channel.begin_stream(chunked=self.chunked_response))

    def get_environment(self) -> dict[str, Any]:
        """The WSGI environment, with the admission."""
        environ: dict[str, Any] = super().get_environment()
        admission = environ[ENVIRON] = self.request.admission
        admission.head_only = not self.request.completed
        if self.request.completed:
            environ[STREAM], environ[DEFERRED] = self._opener, self.request.deferred
        if admission.head_only:
            environ["wsgi.input"] = io.BytesIO()

        return environ

    def write(self, data: bytes) -> None:
        """Write a part of the response; one that is complete leaves in one piece with its head."""
        deferred = self.request.deferred
        if not self.status.startswith("100"):
            if self.wrote_header or not data or self.content_length != len(data) or not self.has_body:
                if deferred.store is not None:  # it must not leave yet
                    deferred.store = None
                    raise RuntimeError("a response that is deferred is no more than one piece")
                super().write(data)
                return
            content = self.build_response_header() + data
            self.wrote_header, self.content_bytes_written = True, len(data)
            if deferred.store is None:
                self.channel.write_soon(content)
            else:
                deferred.content, deferred.closes = content, self.close_on_finish
        elif self.request.wants_continue:
            # While the request is still in `requests`, so that no response can overtake it.
            self.channel.write_soon(b"HTTP/1.1 100 Continue\r\n\r\n")

    def build_response_header(self) -> bytes:
        """The head of the response; the last one at a stop, and after a refusal: its body is not read."""
        stopping = getattr(self.channel.server, "stopping", None)
        if not self.request.completed:
            self.channel.discards_rest = True
        if self.channel.discards_rest or (stopping is not None and stopping.is_set()):
            self.set_close_on_finish()
        closes = self.close_on_finish or self.request.headers.get("CONNECTION", "").lower() == "close"
        has_length = any(name == "content-length" for name, _ in self.response_headers)
        if closes or self.version != "1.1" or not (has_length and self.has_body):
            header: bytes = super().build_response_header()
            return header
        lines = [f"{_canonical(name)}: {value}" for name, value in self.response_headers]
        head = "\r\n".join((f"HTTP/1.1 {self.status}", *lines, f"Date: {_http_date(int(self.start_time))}", "\r\n"))

        return head.encode("latin-1")


@functools.lru_cache(maxsize=256)
def _canonical(name: str) -> str:
    """A header's name as it is sent: `X-Api-Key`."""
    return "-".join(part.capitalize() for part in name.split("-"))


@functools.lru_cache(maxsize=2)
def _http_date(second: int) -> str:
    """The value of Date."""
    text: str = build_http_date(second)
    return text
