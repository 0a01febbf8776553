"""Files at Anthropic, in SQL: a part of `ports.View` and of `ports.Unit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core.files.uploaded import UploadedFile

#: A file that expires sooner than this is not used any more: the call must reach it first. In seconds.
_MARGIN = 900.0


class UploadReads:
    """The question."""

    _run: Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]
    _now: float

    def upload(self, account: str, sha256: str) -> UploadedFile | None:
        """The file of that content at Anthropic."""
        sql = """SELECT account, sha256, file_id, size, expires_at FROM uploads
                 WHERE account = ? AND sha256 = ? AND expires_at > ?"""
        found = self._run(sql, (account, sha256, self._now + _MARGIN))
        if not found:
            return None
        row = found[0]
        return UploadedFile(account=row[0], sha256=row[1], file_id=row[2], size=row[3], expires_at=row[4])


class UploadWrites(UploadReads):
    """And what is written."""

    def save_upload(self, file: UploadedFile) -> None:
        """Its place at Anthropic; the last one counts."""
        sql = """INSERT INTO uploads (account, sha256, file_id, size, expires_at) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (account, sha256)
                 DO UPDATE SET file_id = excluded.file_id, expires_at = excluded.expires_at"""
        self._run(sql, (file.account, file.sha256, file.file_id, file.size, file.expires_at))

    def delete_upload(self, file: UploadedFile) -> None:
        """Forget that very file; not one that took its place meanwhile."""
        sql = "DELETE FROM uploads WHERE account = ? AND sha256 = ? AND file_id = ?"
        self._run(sql, (file.account, file.sha256, file.file_id))

    def delete_expired_uploads(self) -> None:
        """Forget what has expired."""
        self._run("DELETE FROM uploads WHERE expires_at <= ?", (self._now,))
