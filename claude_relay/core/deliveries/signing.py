"""Signatures of webhooks, by the Standard Webhooks scheme (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence

from ...errors import ConfigError, InvalidRequest

PREFIX = "whsec_"

#: Seconds by which the sender's clock may differ, and for which a captured webhook can be replayed.
TOLERANCE = 300

_SHORTEST, _LONGEST = 24, 64  # bytes of a secret, by the scheme


class InvalidSignature(InvalidRequest):
    """The signature does not match this body."""

    status, kind, exit_code = 401, "unauthorized", 65


def sign(webhook_id: str, timestamp: float, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """
    The headers of one POST of `body`; `timestamp` is the time of this attempt.

    One signature for each secret, so that a receiver can change over at any time during a rotation. Without a secret
    the id is sent all the same: the receiver drops repeats by it.
    """
    if "." in webhook_id or not webhook_id.isascii() or not webhook_id.isprintable():
        raise ValueError("a webhook id is printable ASCII without dots: they separate the signed parts")

    stamp = str(int(timestamp))
    headers = {"webhook-id": webhook_id, "webhook-timestamp": stamp}
    if secrets:
        signatures = (_signature(decode_secret(secret), webhook_id, stamp, body) for secret in secrets)
        headers["webhook-signature"] = " ".join(f"v1,{base64.b64encode(item).decode()}" for item in signatures)

    return headers


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], *, now: float, tolerance: float = TOLERANCE
) -> None:
    """Raise `InvalidSignature` with the reason, unless one of the secrets signed this body within `tolerance`."""
    received = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not received.get(name)]
    if missing:
        raise InvalidSignature(f"not signed: the header {missing[0]} is missing")

    stamp = received["webhook-timestamp"]
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise InvalidSignature("webhook-timestamp is not a whole number of seconds since 1970")
    age = now - int(stamp)
    for difference, word in ((age, "old"), (-age, "far in the future")):
        if difference > tolerance:
            raise InvalidSignature(f"webhook-timestamp is too {word}: a replay, or one of the two clocks is wrong")

    candidates = list(_v1_signatures(received["webhook-signature"]))
    expected = [_signature(decode_secret(secret), received["webhook-id"], stamp, body) for secret in secrets]
    if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in candidates):
        raise InvalidSignature("no signature matches: another secret, or the body was changed on its way")


def decode_secret(secret: str) -> bytes:
    """The key in `whsec_…`. The error does not repeat the secret."""
    try:
        text = secret.strip().removeprefix(PREFIX)
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(["RELAY_WEBHOOK_SECRET must be whsec_ and base64, as `openssl rand -base64 32`"]) from None
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ConfigError([f"RELAY_WEBHOOK_SECRET must hold {_SHORTEST} to {_LONGEST} bytes; this has {len(key)}"])

    return key


def encode_secret(key: bytes) -> str:
    """The `whsec_…` form of a key."""
    return PREFIX + base64.b64encode(key).decode()


def _signature(key: bytes, webhook_id: str, stamp: str, body: bytes) -> bytes:
    signed = b"%b.%b.%b" % (webhook_id.encode("utf-8", "replace"), stamp.encode(), body)

    return hmac.new(key, signed, hashlib.sha256).digest()


def _v1_signatures(header: str) -> Iterator[bytes]:
    """The v1 signatures of the header; other versions and malformed entries are skipped."""
    for entry in header.split():
        version, _, text = entry.partition(",")
        if version == "v1":
            try:
                yield base64.b64decode(text, validate=True)
            except ValueError:
                continue
