"""
The token of an `ackUrl`: the right to say that one run's result was applied.

It names the run and is signed (HMAC-SHA256), so that a guess costs the relay one hash and no look into the store, and
nothing is written for results that nobody acknowledges.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from ..text.ids import from_ulid, ulid_bytes

#: Bytes of a fresh secret.
SECRET_BYTES = 32

_MAC = 20  # bytes: beyond anyone's guessing, and the address stays short
_RUN = 3
# 16 bytes of the job's id, 3 of the run, 20 of the signature: whole groups of base64, so there is one way to write it.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{52}")
_PURPOSE = b"claude-relay ack v1\0"


def make_token(secret: bytes, job_id: str, run: int) -> str:
    """The token for that run's result; the same each time."""
    named = ulid_bytes(job_id) + run.to_bytes(_RUN, "big")

    return base64.urlsafe_b64encode(named + _mac(secret, named)).decode()


def read_token(secret: bytes, token: str) -> tuple[str, int] | None:
    """The job's id and the run that `token` names; None unless it was made with this secret."""
    if not _TOKEN.fullmatch(token):
        return None
    whole = base64.urlsafe_b64decode(token)
    named, mac = whole[:-_MAC], whole[-_MAC:]
    if not hmac.compare_digest(mac, _mac(secret, named)):
        return None

    return from_ulid(named[:-_RUN]), int.from_bytes(named[-_RUN:], "big")


def _mac(secret: bytes, named: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + named, hashlib.sha256)[:_MAC]
