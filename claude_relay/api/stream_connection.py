"""The connection of an event stream: the rest of a response, written by the thread of the streams."""

from __future__ import annotations

import contextlib
from typing import Any

from waitress.channel import ClientDisconnected


class StreamConnection:
    """Implements `event_streams.Connection`: the rest of a response, written by the thread of the streams."""

    def __init__(self, channel: Any, *, chunked: bool) -> None:
        self._channel, self._chunked = channel, chunked

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent."""
        return int(self._channel.total_outbufs_len)

    @property
    def connected(self) -> bool:
        """Whether the client is still there."""
        return bool(self._channel.connected and not self._channel.will_close)

    def send(self, data: bytes) -> None:
        """Send a part. It never waits, as the buffer's limit is far above what a stream lets gather."""
        with contextlib.suppress(ClientDisconnected, OSError):  # the client, or at a stop the server's loop
            self._channel.write_soon(b"%X\r\n%b\r\n" % (len(data), data) if self._chunked else data)
            self._channel.server.pull_trigger()

    def close(self) -> None:
        """End the response, and with it the connection."""
        with contextlib.suppress(ClientDisconnected, OSError):
            if self._chunked:
                self._channel.write_soon(b"0\r\n\r\n")
            self._channel.close_when_flushed = True
            self._channel.server.pull_trigger()
