"""A file as Anthropic keeps it for us."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """A file that Anthropic has stored for the key `account` (a hash of it), until then."""

    account: str
    sha256: str
    file_id: str
    size: int
    expires_at: float
