"""Authentication: the API key of a request, and the scopes of its caller."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Protocol

import falcon

from ..core.keys import ADMIN, Scope, digest_of
from ..core.lazy_dataclass import dataclass
from ..core.text.rates import Rate
from ..errors import Forbidden, Unauthorized
from ..services import JobRef, Keys


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The owner of the jobs that are submitted with a key, and the scopes of that key."""

    owner: str
    scopes: frozenset[Scope]
    rate: Rate | None = None

    @property
    def sees_all(self) -> bool:
        """Whether it may see the jobs of every owner."""
        return Scope.ADMIN in self.scopes

    def may(self, scope: Scope) -> bool:
        """Whether it has that scope; the admin has all of them."""
        return self.sees_all or scope in self.scopes

    def ref(self, request_id: str, owner: str | None = None) -> JobRef:
        """A reference to a job of this caller; the admin may name another owner."""
        return JobRef(request_id=request_id, owner=owner if self.sees_all else self.owner)


class KeyVerifier(Protocol):
    """Finds the caller of a key."""

    def caller(self, key: str) -> Caller | None:
        """The caller; None for a wrong key. Takes the same time for any key."""
        ...


class StoredKeys:
    """The keys in API_SECRET_KEY, which are the admin's, and the named keys of the store."""

    def __init__(self, admin_keys: Sequence[str], keys: Keys) -> None:
        self._digests = [digest_of(key) for key in admin_keys]
        self._keys = keys
        self._admin = Caller(owner=ADMIN, scopes=frozenset(Scope))

    def replace_admin_keys(self, admin_keys: Sequence[str]) -> None:
        """Accept these from now on, and no others."""
        self._digests = [digest_of(key) for key in admin_keys]

    def caller(self, key: str) -> Caller | None:
        """Compare by digest, so that the time taken shows neither the length nor any character of a key."""
        digest = digest_of(key)
        same = [hmac.compare_digest(digest, admin) for admin in self._digests]  # a list: each is compared
        if any(same):
            return self._admin
        stored = self._keys.find(key)

        return None if stored is None else Caller(owner=stored.name, scopes=stored.scopes, rate=stored.rate)


def key_of(req: falcon.Request) -> str | None:
    """The key of a request: `X-API-Key`, or `Authorization: Bearer`."""
    if key := req.get_header("X-API-Key"):
        return key
    scheme, _, token = (req.get_header("Authorization") or "").partition(" ")

    return token.strip() or None if scheme.lower() == "bearer" else None


def authenticate(key: str | None, verifier: KeyVerifier) -> Caller:
    """The caller; raises `Unauthorized` without a key, `Forbidden` for a wrong one."""
    if key is None:
        raise Unauthorized()
    caller = verifier.caller(key)
    if caller is None:
        raise Forbidden(
            "The API key is not valid: it is neither API_SECRET_KEY of this relay nor one of its named keys."
        )

    return caller
