"""Who asks: the key that came with a request, and what it may do."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Protocol

import falcon

from ..core.keys import ADMIN, Scope, digest_of
from ..core.text.rates import Rate
from ..errors import Forbidden, Unauthorized
from ..services import JobRef
from ..services.keys import Keys


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The owner of what is submitted with a key, and what that key may do."""

    owner: str
    scopes: frozenset[Scope]
    rate: Rate | None = None

    @property
    def sees_all(self) -> bool:
        """Whether everyone's jobs are its business."""
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        """The admin may everything."""
        return self.sees_all or scope in self.scopes

    def ref(self, request_id: str, owner: str | None = None) -> JobRef:
        """The job that this caller means; the admin may name another owner."""
        return JobRef(request_id=request_id, owner=owner if self.sees_all else self.owner)


class KeyVerifier(Protocol):
    """Knows the keys."""

    def caller(self, key: str) -> Caller | None:
        """Whose key that is; None for a wrong one. Takes the same time for any."""
        ...


class StoredKeys:
    """API_SECRET_KEY, which is the admin's, and the named keys of the store."""

    def __init__(self, secret: str, keys: Keys) -> None:
        self._digest = digest_of(secret)
        self._keys = keys
        self._admin = Caller(owner=ADMIN, scopes=frozenset(Scope))

    def caller(self, key: str) -> Caller | None:
        """Compared by digest, so that neither length nor letters show in the time it takes."""
        if hmac.compare_digest(digest_of(key), self._digest):
            return self._admin
        known = self._keys.find(key)

        return None if known is None else Caller(owner=known.name, scopes=known.scopes, rate=known.rate)


def key_of(req: falcon.Request) -> str | None:
    """The key as it came: `X-API-Key`, or `Authorization: Bearer`."""
    if key := req.get_header("X-API-Key"):
        return key
    scheme, _, token = (req.get_header("Authorization") or "").partition(" ")

    return token.strip() or None if scheme.lower() == "bearer" else None


def authenticate(req: falcon.Request, authority: KeyVerifier) -> Caller:
    """The caller, or `Unauthorized` without a key, `Forbidden` with a wrong one."""
    key = key_of(req)
    if key is None:
        raise Unauthorized()
    caller = authority.caller(key)
    if caller is None:
        raise Forbidden(
            "The API key is not valid: it is neither API_SECRET_KEY of this relay nor one of its named keys."
        )

    return caller
