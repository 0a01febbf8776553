"""Sessions: a signed cookie with an end, which names a key; and values sealed with the same secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import field
from functools import cached_property
from typing import Any

from ..api.auth import Caller, KeyVerifier
from ..core.keys import ADMIN, Scope, key_id
from ..core.lazy_dataclass import dataclass
from ..services import Keys

#: A session ends this many seconds after the login.
LIFETIME = 12 * 3600.0
#: Fields of a session in its cookie.
_FIELDS = ("identity", "nonce", "expires_at")


class Sealer:
    """
    Signs values for one purpose each.

    The key is derived from API_SECRET_KEY: every API process reads what another one has signed, and a new
    API_SECRET_KEY ends all sessions. By scrypt, as a cookie must not be a cheap oracle for a short secret.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    @cached_property
    def _key(self) -> bytes:
        text = self._secret.encode("utf-8", "surrogateescape")

        return hashlib.scrypt(text, salt=b"claude-relay dashboard", n=2**14, r=8, p=1, dklen=32)

    def mac(self, purpose: str, text: str) -> str:
        """The signature of a text."""
        return hmac.new(self._key, f"{purpose}\n{text}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def seal(self, purpose: str, value: Any) -> str:
        """A value as signed text, for a cookie."""
        text = base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

        return f"{text}.{self.mac(purpose, text)}"

    def open(self, purpose: str, sealed: str) -> Any:
        """The sealed value; None if it was not sealed here for that purpose."""
        text, _, signature = sealed.partition(".")
        if not sealed.isascii() or not hmac.compare_digest(self.mac(purpose, text), signature):
            return None
        try:
            return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except ValueError:
            return None


@dataclass(frozen=True, kw_only=True)
class Session:
    """A login: the id of its key (or `admin`), a nonce, and its end."""

    identity: str
    nonce: str = field(repr=False)
    expires_at: float


class Sessions:
    """Opens sessions for keys, and finds the caller of a session."""

    def __init__(self, sealer: Sealer, verifier: KeyVerifier, keys: Keys, clock: Callable[[], float]) -> None:
        self._sealer, self._verifier, self._keys, self._clock = sealer, verifier, keys, clock

    def log_in(self, key: str) -> tuple[Caller, Session] | None:
        """The caller and a new session; None for a wrong key."""
        caller = self._verifier.caller(key)
        if caller is None:
            return None
        identity = ADMIN if caller.owner == ADMIN else key_id(key) or ""
        session = Session(identity=identity, nonce=secrets.token_urlsafe(16), expires_at=self._clock() + LIFETIME)
        return caller, session

    def cookie(self, session: Session) -> str:
        """The cookie of a session."""
        return self._sealer.seal("session", [session.identity, session.nonce, session.expires_at])

    def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None if it was not issued here, or has ended."""
        values = self._sealer.open("session", cookie) if cookie else None
        if not isinstance(values, list) or len(values) != len(_FIELDS):
            return None
        session = Session(**dict(zip(_FIELDS, values, strict=True)))

        return session if session.expires_at > self._clock() else None

    def caller(self, session: Session) -> Caller | None:
        """The caller of a session; None once its key is revoked."""
        if session.identity == ADMIN:
            return Caller(owner=ADMIN, scopes=frozenset(Scope))
        key = self._keys.active(session.identity)

        return None if key is None else Caller(owner=key.name, scopes=key.scopes, rate=key.rate)

    def token(self, session: Session) -> str:
        """The token that every act of a session carries: another site cannot know it."""
        return self._sealer.mac("act", session.nonce)[:40]

    def token_is_valid(self, session: Session, token: str) -> bool:
        """Whether it is that session's token."""
        return hmac.compare_digest(self.token(session).encode(), token.encode("utf-8", "replace"))
