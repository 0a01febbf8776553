"""Framing of requests: the parser that refuses whatever has no certain end, and the response to such a request."""

from __future__ import annotations

import re
import time

from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask
from waitress.utilities import BadRequest

from ..core import wire
from ..core.text.sizes import format_size
from ..errors import InvalidRequest, RelayError, TooLarge
from .admission import Admission
from .deferred_response import DeferredResponse

#: A host may be empty, but is one: a list is what becomes of two Host lines behind a proxy.
_HOST = re.compile(r"[^\s,/@?#]*")
_TRANSFER_ENCODING = re.compile(rb"\r\ntransfer-encoding:([^\r]*)", re.IGNORECASE)
#: Longest line of a chunk size, and all trailers of a body, in bytes: waitress reads both again with each packet.
_CHUNK_LINE, _TRAILERS = 4_096, 32_768
#: Bytes of a chunked body beside its content: so many, and one more for so many of the content. Each chunk costs
#: microseconds, also one of a single byte: 32 MiB of these took a minute.
_FRAMING, _CONTENT_PER_FRAMING = 512 * 1024, 16

#: Names whose repetition is refused elsewhere, or has a meaning of its own.
_NEVER_ONCE = (b"host", b"content-length", b"transfer-encoding")


class RequestParser(HTTPRequestParser):
    """
    Refuses requests whose end is ambiguous, which allows request smuggling (RFC 9112 §2.3, §3.2, §5.2, §6).

    Of waitress it uses `error`, `completed` and `headers_finished`, and the two buffers of its chunk reader.
    """

    #: Whether the client waits for a 100 before it sends the body: as waitress has it, and as used here.
    expect_continue = False
    wants_continue = False
    #: For waitress's message about a client that is gone: a refused request may have none.
    path = ""

    def __init__(self, adj: object) -> None:
        super().__init__(adj)
        self.admission = Admission()
        self.deferred = DeferredResponse()

    def received(self, data: bytes) -> int:
        """Take the bytes of this request; returns their number."""
        if not self.headers_finished and not self.header_plus.strip():
            if data.lstrip(b"\r\n")[:1].isspace():
                return self._refuse("the request line begins with a space", consumed=len(data))
            if not self.header_plus and data.startswith(b"\x16\x03"):
                return self._refuse("this port speaks http, not https", consumed=len(data))
        consumed: int = super().received(data)
        chunks = self.body_rcv if self.chunked and not self.completed else None
        if chunks is not None and (len(chunks.control_line) > _CHUNK_LINE or len(chunks.trailer) > _TRAILERS):
            return self._refuse("the line of a chunk size, or the trailers, are too long", consumed=consumed)
        if chunks is not None:
            framing = self.body_bytes_received - len(chunks)
            if framing > _FRAMING + len(chunks) // _CONTENT_PER_FRAMING:
                problem = "the body is in too many small chunks: send larger ones, or a Content-Length"
                return self._refuse(problem, consumed=consumed)
        limit = self.admission.body_limit
        if limit is not None and self.body_bytes_received > limit:
            self.admission.too_large = True
            return self._refuse("the body is too large", consumed=consumed)

        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the head; raises `ParsingError` where it is ambiguous."""
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:
            raise ParsingError("a header is folded over several lines")
        super().parse_header(header_plus)
        # As many headers as lines: none was repeated or left out, and none is Transfer-Encoding, which waitress
        # takes out.
        if len(self.headers) == header_plus.count(b"\r\n") - 2 and self.version == "1.1" and "HOST" in self.headers:
            self._check_host()
        else:
            self.headers.clear()
            self._parse_unusual(header_plus)
        # waitress would send the 100 itself, before the key is checked; without a body it would also use this parser,
        # headers included, for the next request on the connection.
        self.wants_continue = bool(self.expect_continue)
        self.expect_continue = False

    def close(self) -> None:
        """Release the body; called after each pass, so that one over the head alone must keep it."""
        if self.completed:
            super().close()

    def _parse_unusual(self, header_plus: bytes) -> None:
        names = [line.partition(b":")[0].lower() for line in header_plus.split(b"\r\n")[1:] if line]
        distinct = set(names)
        if len(distinct) < len(names):
            header_plus = _without_repetitions(header_plus)
        super().parse_header(header_plus)
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("the version of HTTP must be 1.0 or 1.1")
        if (hosts := names.count(b"host")) > 1 or (self.version == "1.1" and not hosts):
            raise ParsingError("there must be exactly one Host header")
        if hosts:
            self._check_host()
        if b"transfer-encoding" in distinct:
            if self.version == "1.0":
                raise ParsingError("Transfer-Encoding needs HTTP/1.1")
            codings = _TRANSFER_ENCODING.findall(header_plus)
            if [coding.strip().lower() for coding in codings] != [b"chunked"] or b"content-length" in distinct:
                raise ParsingError("the end of the request is ambiguous")

    def _check_host(self) -> None:
        if not _HOST.fullmatch(self.headers["HOST"]):
            raise ParsingError("the Host header is not a host")

    def _refuse(self, problem: str, *, consumed: int) -> int:
        self.error, self.completed = BadRequest(problem), True
        return consumed


def _without_repetitions(header_plus: bytes) -> bytes:
    """Drop lines that repeat another one word for word: some clients and proxies add a header a second time."""
    first, *lines = header_plus.split(b"\r\n")
    kept: dict[tuple[bytes, bytes] | int, bytes] = {}
    for number, line in enumerate(lines):
        name, _, value = line.partition(b":")
        key = (name.lower(), value.strip())
        kept.setdefault(number if key[0] in _NEVER_ONCE else key, line)

    return b"\r\n".join((first, *kept.values()))


class JsonErrorTask(ErrorTask):
    """Sends errors that are found before the app runs (too large, malformed) in the shape of all errors."""

    def execute(self) -> None:
        """Write the response; the connection ends with it."""
        fault, limit = self.request.error, self.channel.server.adj.max_request_body_size
        error: RelayError
        if self.request.admission.too_large:
            error, status = self.request.admission.too_large_error(), "413 Request Entity Too Large"
        else:
            status = f"{fault.code} {fault.reason}"
            if fault.code == 413:
                error = TooLarge(f"The body is too large: at most {format_size(limit)} (RELAY_MAX_BODY).")
            elif fault.code == 500:
                error = RelayError("Internal error. The log has the details.")
            else:
                error = InvalidRequest(f"The request cannot be read: {fault.reason.lower()}: {fault.body}.")
        code = int(status.partition(" ")[0])
        body = wire.encode({**wire.error_body(error, now=time.time()), "status": code})
        self.status = status
        self.response_headers.extend(
            [
                ("Content-Type", "application/json"),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                ("Connection", "close"),
            ]
        )
        self.channel.discards_rest = True
        self.close_on_finish = True
        self.content_length = len(body)
        self.write(body)
