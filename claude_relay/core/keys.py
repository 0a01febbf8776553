"""Named API keys: their scopes, creation and verification."""

from __future__ import annotations

import base64
import math
import re
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING

from ..errors import InvalidRequest, Problem
from .digests import sha256
from .jobs.fairness import DEFAULT_WEIGHT, WEIGHTS
from .lazy_dataclass import dataclass

if TYPE_CHECKING:
    from .text.rates import Rate

#: The owner that sees every job: API_SECRET_KEY, and the command line on the machine itself.
ADMIN = "admin"

#: An API_SECRET_KEY with fewer characters can be guessed.
MIN_SECRET_LENGTH = 24

_KEY = re.compile(r"crk_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Scope(str, Enum):
    """A permission of a key."""

    SUBMIT = "submit"  # submit, estimate, cancel; with `read` also retry, redeliver, continueFrom
    READ = "read"  # status, results, lists
    METRICS = "metrics"  # /metrics
    ADMIN = "admin"  # everything, for all owners' jobs


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key. Its name is the owner of the jobs it submits; only a digest of the secret is stored."""

    id: str
    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    rate: Rate | None = None  # submissions; None: RELAY_RATE_LIMIT_SUBMIT
    daily_budget_usd: float | None = None
    weight: float = DEFAULT_WEIGHT  # its part of a contended queue, relative to other keys
    created_at: float = 0.0
    revoked_at: float | None = None


def new_key(
    name: str,
    scopes: frozenset[Scope],
    *,
    rate: Rate | None,
    daily_budget_usd: float | None,
    weight: float = DEFAULT_WEIGHT,
    now: float,
    entropy: bytes,
) -> tuple[ApiKey, str]:
    """Create a key from 36 random bytes; returns it with its text, which is shown once. Raises `InvalidRequest`."""
    problems = []
    if not _NAME.fullmatch(name) or name == ADMIN:
        problems.append(
            Problem(field="name", problem="must be 1 to 64 letters, digits, dots, dashes or underscores, and not admin")
        )
    if not scopes:
        problems.append(Problem(field="scope", problem="is required: submit, read, metrics or admin"))
    problems += check_budget(daily_budget_usd)
    problems += check_weight(weight)
    if problems:
        raise InvalidRequest(problems=problems)

    identity = entropy[:4].hex()
    secret = base64.urlsafe_b64encode(entropy[4:36]).decode().rstrip("=")
    text = f"crk_{identity}_{secret}"
    key = ApiKey(
        id=identity,
        name=name,
        digest=digest_of(text),
        scopes=scopes,
        rate=rate,
        daily_budget_usd=daily_budget_usd,
        weight=weight,
        created_at=now,
    )
    return key, text


def check_budget(daily_budget_usd: float | None) -> list[Problem]:
    """The problem of a daily budget, if there is one."""
    if daily_budget_usd is None or 0 < daily_budget_usd < math.inf:
        return []

    return [Problem(field="budget", problem="must be more than 0 dollars a day")]


def check_weight(weight: float) -> list[Problem]:
    """The problems of a weight: none, or that it is out of range."""
    least, most = WEIGHTS
    if least <= weight <= most:
        return []

    return [Problem(field="weight", problem=f"must be from {least:g} to {most:g}; other keys have {DEFAULT_WEIGHT:g}")]


def key_id(text: str) -> str | None:
    """
    The id part of a key's text, by which it is looked up.

    None if it is not one of our keys.
    """
    match = _KEY.fullmatch(text)

    return match[1] if match else None


def matches(key: ApiKey | None, text: str) -> bool:
    """Whether the text is that key; takes the same time whether the key exists or not."""
    import hmac  # here, as it loads OpenSSL: see `digests`

    same = hmac.compare_digest(digest_of(text), key.digest if key is not None else bytes(32))

    return key is not None and same and key.revoked_at is None


def digest_of(text: str) -> bytes:
    """The stored digest; 256 random bits need no slow hash."""
    return sha256(text.encode("utf-8", "surrogateescape"))
