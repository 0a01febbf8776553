"""Files: those fetched for a job, and those that Anthropic stores for this relay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core import digests, retention
from ...core.files.uploaded import UploadedFile
from ...errors import Damaged
from . import records
from .events import EventWrites
from .query import QueryBase, Row

if TYPE_CHECKING:
    from ...core.files.fetched import FetchedFile
    from ...core.jobs.events import Event

_FILE = f"SELECT {records.columns(records.FILE)} FROM fetched_files"
_ADD_FILE = records.insert("fetched_files", ["job_id", *records.FILE, "data"])


class FileReads(QueryBase):
    """Implements `ports.store.FileReads`."""

    def files(self, job_id: str) -> Sequence[FetchedFile]:
        """The files fetched for a job, without their bytes."""
        return self._fetch_all(records.to_file, f"{_FILE} WHERE job_id = ? ORDER BY number", (job_id,))

    def file_data(self, job_id: str, number: int) -> bytes:
        """The bytes of a fetched file. Raises `Damaged`."""
        sql = "SELECT data, sha256 FROM fetched_files WHERE job_id = ? AND number = ?"
        [(data, sha256)] = self._run(sql, (job_id, number))
        if digests.sha256(data).hex() != sha256:
            raise Damaged(f"the stored file {number + 1} of job {job_id}")
        return bytes(data)

    def upload(self, account: str, sha256: str) -> UploadedFile | None:
        """The file at Anthropic with that content, if it can still be used in a call."""
        sql = """SELECT account, sha256, file_id, size, expires_at FROM uploads
                 WHERE account = ? AND sha256 = ? AND expires_at > ?"""
        return self._fetch_first(_to_upload, sql, (account, sha256, retention.upload_usable_after(self._now)))


class FileWrites(EventWrites):
    """Implements `ports.store.FileWrites`."""

    def add_file(self, job_id: str, file: FetchedFile, data: bytes | bytearray, event: Event) -> None:
        """Store a fetched file."""
        self._run(_ADD_FILE, (job_id, *(getattr(file, name) for name in records.FILE), data))
        self._add_event(event)

    def save_upload(self, file: UploadedFile) -> None:
        """Store the id of a file at Anthropic; the latest one counts."""
        sql = """INSERT INTO uploads (account, sha256, file_id, size, expires_at) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (account, sha256)
                 DO UPDATE SET file_id = excluded.file_id, expires_at = excluded.expires_at"""
        self._run(sql, (file.account, file.sha256, file.file_id, file.size, file.expires_at))

    def delete_upload(self, file: UploadedFile) -> None:
        """Delete that file, but not another one that replaced it meanwhile."""
        sql = "DELETE FROM uploads WHERE account = ? AND sha256 = ? AND file_id = ?"
        self._run(sql, (file.account, file.sha256, file.file_id))

    def delete_expired_uploads(self) -> None:
        """Delete uploads that have expired at Anthropic."""
        self._run("DELETE FROM uploads WHERE expires_at <= ?", (self._now,))


def _to_upload(row: Row) -> UploadedFile:
    return UploadedFile(account=row[0], sha256=row[1], file_id=row[2], size=row[3], expires_at=row[4])
