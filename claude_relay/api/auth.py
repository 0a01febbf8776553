"""Who asks: the key that came with a request, and what it may do."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Protocol

import falcon

from ..errors import Forbidden, Unauthorized
from ..relay import Ref


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The owner of what is submitted with a key. `sees_all`: the admin."""

    owner: str
    sees_all: bool = False

    def ref(self, request_id: str, owner: str | None = None) -> Ref:
        """The job that this caller means; the admin may name another owner."""
        return Ref(request_id=request_id, owner=owner if self.sees_all else self.owner)


class Authority(Protocol):
    """Knows the keys."""

    def caller(self, key: str) -> Caller | None:
        """Whose key that is; None for a wrong one. Takes the same time for any."""
        ...


class AdminKey:
    """One key, which may do everything: API_SECRET_KEY."""

    def __init__(self, secret: str) -> None:
        self._digest = _digest(secret)

    def caller(self, key: str) -> Caller | None:
        """Compared by digest, so that neither length nor letters show in the time it takes."""
        known = hmac.compare_digest(_digest(key), self._digest)

        return Caller(owner="admin", sees_all=True) if known else None


def key_of(req: falcon.Request) -> str | None:
    """The key as it came: `X-API-Key`, or `Authorization: Bearer`."""
    if key := req.get_header("X-API-Key"):
        return key
    scheme, _, token = (req.get_header("Authorization") or "").partition(" ")

    return token.strip() or None if scheme.lower() == "bearer" else None


def authenticate(req: falcon.Request, authority: Authority) -> Caller:
    """The caller, or `Unauthorized` without a key, `Forbidden` with a wrong one."""
    key = key_of(req)
    if key is None:
        raise Unauthorized()
    caller = authority.caller(key)
    if caller is None:
        raise Forbidden("The API key is not valid: compare X-API-Key with API_SECRET_KEY on the relay.")

    return caller


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
