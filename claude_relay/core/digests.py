"""Digests of stored content, which show that a bit of it has changed on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# `hashlib` loads OpenSSL, which is a fiftieth of the time of `status ID`: only for what is in there alone.
try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

#: Bytes of a digest: they find accidents, and keep no secret.
SIZE = 16
#: Characters of a text that are encoded at once: a long one is not copied as a whole.
_PIECE = 2**16


def digest(*parts: str | bytes | memoryview | float | None) -> bytes:
    """
    The digest of a row's parts, with the kind and length of each: nothing can move between them.

    A memoryview is the UTF-8 of a text without a zero byte. PostgreSQL keeps no zero byte in a text, and stores U+FFFD
    for it: both have the same digest.
    """
    result = blake2b(digest_size=SIZE)
    for part in parts:
        if part is None:  # most columns of most rows
            result.update(b"none 0 ")
            continue
        if isinstance(part, str) and "\0" in part:
            part = part.replace("\0", "\ufffd")  # noqa: PLW2901
        if isinstance(part, str) and len(part) > _PIECE:
            size = len(part) if part.isascii() else sum(map(len, _pieces(part)))
            result.update(b"text %d " % size)
            for piece in _pieces(part):
                result.update(piece)
            continue
        if isinstance(part, memoryview):
            result.update(b"text %d " % len(part))
            result.update(part)
            continue
        if isinstance(part, str):
            kind, data = b"text", part.encode("utf-8", "surrogatepass")
        elif isinstance(part, bytes):
            kind, data = b"bytes", part
        else:
            kind, data = b"number", float(part).hex().encode()
        result.update(b"%b %d " % (kind, len(data)))
        result.update(data)

    return result.digest()


def _pieces(text: str) -> Iterator[bytes]:
    return (text[at : at + _PIECE].encode("utf-8", "surrogatepass") for at in range(0, len(text), _PIECE))


def sha256(data: bytes | bytearray) -> bytes:
    """The SHA-256 of some bytes."""
    import hashlib

    return hashlib.sha256(data).digest()


def matches(stored: bytes | None, parts: Sequence[str | bytes | float | None]) -> bool:
    """Whether the row's parts are those that the digest was made of; never for values of another type."""
    try:
        return stored is not None and bytes(stored) == digest(*parts)
    except (TypeError, ValueError):
        return False
