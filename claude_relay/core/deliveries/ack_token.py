"""
The token of an `ackUrl`: the right to acknowledge the result of one run.

It names the run and is signed (HMAC-SHA256), so that a guess costs the relay one hash and no read of the store, and no
row is written for results that are never acknowledged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from ..text.ids import from_ulid, ulid_bytes

#: Bytes of a new secret.
SECRET_BYTES = 32

_MAC = 20  # bytes: cannot be guessed, and keeps the URL short
_RUN = 3
# 16 bytes of the job's id, 3 of the run, 20 of the signature: complete base64 groups, so that the encoding is unique.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{52}")
_PURPOSE = b"claude-relay ack v1\0"


def make_token(secret: bytes, job_id: str, run: int) -> str:
    """The token for a run's result; the same at each call."""
    run_ref = ulid_bytes(job_id) + run.to_bytes(_RUN, "big")

    return base64.urlsafe_b64encode(run_ref + _mac(secret, run_ref)).decode()


def read_token(secret: bytes, token: str) -> tuple[str, int] | None:
    """The job's id and the run that `token` names; None unless it was made with this secret."""
    if not _TOKEN.fullmatch(token):
        return None
    raw = base64.urlsafe_b64decode(token)
    run_ref, mac = raw[:-_MAC], raw[-_MAC:]
    if not hmac.compare_digest(mac, _mac(secret, run_ref)):
        return None

    return from_ulid(run_ref[:-_RUN]), int.from_bytes(run_ref[-_RUN:], "big")


def _mac(secret: bytes, run_ref: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + run_ref, hashlib.sha256)[:_MAC]
