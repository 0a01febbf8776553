"""
A network namespace for a test, with every private address to listen on, and a name server under its control.

`command()` enters it (Linux namespaces: nothing of the machine changes); `furnish` is called inside. Then `Listeners`
records every connection, and `Names` answers lookups.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .needs import needs

#: The variable that is set inside.
INSIDE = "RELAY_TEST_INNER_NET"


def command(*args: str) -> list[str]:
    """The command that runs `args` in a network namespace; skips the test where the machine has none."""
    unshare = needs("unshare", "util-linux")
    needs("ip", "iproute2")
    # With a PID namespace, so that all processes end with the first.
    spaces = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    for flags in (spaces, ("--map-root-user", *spaces)):
        if subprocess.run([unshare, *flags, "true"], capture_output=True).returncode == 0:
            return [unshare, *flags, "env", f"{INSIDE}=1", *args]

    # Nothing can be installed for it: so it is not a failure in CI either.
    pytest.skip("this machine gives no namespaces (unshare --net --mount)")


def furnish(folder: Path, addresses: Sequence[str], hosts: Mapping[str, str]) -> None:
    """Set up addresses, hosts file and name server of this namespace."""
    assert os.environ.get(INSIDE), "outside, this would change the machine itself"
    # A private copy of the mounts, whatever the machine shares.
    _run("mount", "--make-rprivate", "/")
    lines = ["link set lo up"]
    for text in addresses:
        address = ipaddress.ip_address(text)
        if not address.is_loopback or (address.version == 6 and text != "::1"):
            lines.append(f"addr add {text}/{address.max_prefixlen} dev lo{' nodad' if address.version == 6 else ''}")
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    for name, text in (
        ("hosts", "".join(f"{address} {name}\n" for name, address in hosts.items())),
        ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
    ):
        (folder / name).write_text(text)
        target = Path("/etc", name).resolve()
        if target.exists():
            _run("mount", "--bind", str(folder / name), str(target))


def _run(*args: str) -> None:
    subprocess.run(args, check=True)


@dataclass(frozen=True)
class Came:
    """A connection: its destination address and port, and the first line of the request."""

    address: str
    port: int
    line: str


class Listeners:
    """Listens on every address of both families, and answers HTTP with `answers` of the path."""

    def __init__(self, *ports: int) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self._news = threading.Condition()
        self._books: list[Came] = []
        self._sockets = []
        for port in ports:
            self._sockets.append(socket.create_server(("0.0.0.0", port), backlog=256))
            self._sockets.append(socket.create_server(("::", port), family=socket.AF_INET6, backlog=256))
        for listener in self._sockets:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._sockets:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    @property
    def books(self) -> list[Came]:
        with self._news:
            return list(self._books)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(60)
            address, port = connection.getsockname()[:2]
            head = b""
            while b"\r\n\r\n" not in head and (piece := connection.recv(65_536)):
                head += piece
            head, _, body = head.partition(b"\r\n\r\n")
            line = head.partition(b"\r\n")[0].decode("latin-1")
            with self._news:
                self._books.append(Came(address, port, line))
            for field in head.lower().split(b"\r\n"):
                if field.startswith(b"content-length:"):
                    left = int(field.partition(b":")[2]) - len(body)
                    while left > 0 and (piece := connection.recv(65_536)):
                        left -= len(piece)
            path = line.split(" ")[1] if line.count(" ") == 2 else ""
            status, body = self.answers.get(path, (200, b"OK"))
            connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


class Names:
    """
    A name server on 127.0.0.1: `records` has the addresses of each name, or the target of an alias.

    Of a list of lists each query takes the next, and the last one repeats: that is DNS rebinding.
    """

    def __init__(self, records: Mapping[str, Sequence[str] | Sequence[Sequence[str]] | str]) -> None:
        self.asked: list[tuple[str, str]] = []
        self._records = records
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._answer_all, daemon=True).start()

    def __enter__(self) -> Names:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _answer_all(self) -> None:
        while True:
            try:
                query, client = self._socket.recvfrom(4096)
            except OSError:
                return
            with contextlib.suppress(OSError, ValueError, IndexError):
                self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode().lower())
            at += 1 + length
        kind = {1: "A", 28: "AAAA"}.get(struct.unpack(">H", query[at + 1 : at + 3])[0], "?")
        name, question = ".".join(labels), query[12 : at + 5]
        self.asked.append((name, kind))
        answers = list(self._records_of(name, kind))
        exists = name in self._records
        head = query[:2] + struct.pack(">HHHHH", 0x8580 if exists else 0x8583, 1, len(answers), 0, 0)

        return head + question + b"".join(answers)

    def _records_of(self, name: str, kind: str) -> Iterator[bytes]:
        record = self._records.get(name, ())
        if isinstance(record, str):
            yield _record(name, 5, _wire(record))
            yield from self._records_of(record, kind)
            return
        turns = [addresses for addresses in record if not isinstance(addresses, str)]
        if turns:
            nth = sum(asked == (name, kind) for asked in self.asked) - 1
            record = turns[min(nth, len(turns) - 1)]
        for text in record:
            packed = ipaddress.ip_address(str(text)).packed
            if (kind, len(packed)) in (("A", 4), ("AAAA", 16)):
                yield _record(name, 1 if kind == "A" else 28, packed)


def _record(name: str, kind: int, data: bytes) -> bytes:
    return _wire(name) + struct.pack(">HHIH", kind, 1, 0, len(data)) + data


def _wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
