"""
The text of running calls from the workers of a machine to its streams, by datagrams.

A process with streams listens on a unix socket in the workers' directory; a worker sends its text to each of them.
Pieces may be lost: the text that is stored once a second is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..file_owner import give_to_owner
from ..ports import TextPiece
from .wakeup_socket import short_path

_SUFFIX = ".text"
#: How long a worker relies on the list of listeners, and gathers text before it sends it, in seconds.
_SCAN, _GATHER = 0.2, 0.03
#: Code points of one datagram, and pieces that wait to be sent.
_SIZE, _MAX_PIECES = 16_384, 10_000
_BUFFER = 1 << 20


class TextSender:
    """Implements `ports.TextSink`. Without a listener a piece costs a comparison."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._pieces: deque[TextPiece] = deque(maxlen=_MAX_PIECES)
        self._names: list[str] = []
        self._scan_at = 0.0
        self._wake, self._stop = threading.Event(), threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="text sender", daemon=True)
        self._thread.start()

    def put(self, piece: TextPiece) -> None:
        """Queue a piece, if a process listens."""
        if self._has_listeners():
            self._pieces.append(piece)
            self._wake.set()

    def close(self) -> None:
        """Stop sending."""
        self._stop.set()
        self._wake.set()
        self._thread.join(5)
        self._socket.close()

    def _has_listeners(self) -> bool:
        now = self._clock()
        if now >= self._scan_at:
            self._scan_at = now + _SCAN
            with contextlib.suppress(OSError):
                self._names = [name for name in os.listdir(self._folder) if name.endswith(_SUFFIX)]  # noqa: PTH208

        return bool(self._names)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            taken = []
            with contextlib.suppress(IndexError):
                while True:
                    taken.append(self._pieces.popleft())
            for piece in _joined(taken):
                self._send(piece)
            self._stop.wait(_GATHER)

    def _send(self, piece: TextPiece) -> None:
        data = json.dumps([piece.job_id, piece.call, piece.offset, piece.text]).encode()
        with contextlib.suppress(OSError), short_path(self._folder) as folder:
            for name in self._names:
                try:
                    self._socket.sendto(data, f"{folder}/{name}")
                except ConnectionRefusedError:  # its process was killed
                    with contextlib.suppress(OSError):
                        (self._folder / name).unlink()
                except OSError:
                    continue  # full, or closed meanwhile


class TextListener:
    """Implements `ports.TextSource`. Where the directory cannot be written to, the stored text is all there is."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(3)}{_SUFFIX}"
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def open(self, receive: Callable[[TextPiece], None]) -> None:
        """Listen, in a thread."""
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            with short_path(self._path.parent) as folder:
                opened.bind(f"{folder}/{self._path.name}")
            self._path.chmod(0o660)
            give_to_owner(self._path)
        except OSError:
            opened.close()
            return
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._socket = opened
        self._thread = threading.Thread(target=_receive_all, args=(opened, receive), name="text receiver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and delete the socket."""
        if self._socket is None or self._thread is None:
            return
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()
        self._socket = self._thread = None


def _receive_all(opened: socket.socket, receive: Callable[[TextPiece], None]) -> None:
    while True:
        try:
            data = opened.recv(_BUFFER)
        except OSError:
            return
        if not data:
            return
        job_id, call, offset, text = json.loads(data)
        receive(TextPiece(job_id=job_id, call=call, offset=offset, text=text))


def _joined(pieces: Iterable[TextPiece]) -> Iterator[TextPiece]:
    """Fewer and larger pieces: those of a call that follow each other become one, of a bounded size."""
    open_: dict[tuple[str, int], tuple[int, list[str], int]] = {}
    for piece in pieces:
        key = (piece.job_id, piece.call)
        start, texts, end = open_.get(key, (piece.offset, [], piece.offset))
        if end != piece.offset or end - start > _SIZE:
            yield TextPiece(job_id=key[0], call=key[1], offset=start, text="".join(texts))
            start, texts = piece.offset, []
        texts.append(piece.text)
        open_[key] = (start, texts, piece.offset + len(piece.text))
    for (job_id, call), (start, texts, _) in open_.items():
        yield TextPiece(job_id=job_id, call=call, offset=start, text="".join(texts))
