"""A file uploaded to Anthropic's Files API."""

from __future__ import annotations

from ..lazy_dataclass import dataclass


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """A file that Anthropic stores for the API key `account` (its hash) until `expires_at`."""

    account: str
    sha256: str
    file_id: str
    size: int
    expires_at: float
