"""Files uploaded to Anthropic: `ports.UploadCache` over the store, for all workers and across restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .transactions import query, transaction

if TYPE_CHECKING:
    from ..core.files.uploaded import UploadedFile
    from ..ports import ReadTransaction, Transaction
    from .context import Context


class UploadedFiles:
    """Rows only: when an upload is worth it is decided in `claude`."""

    def __init__(self, context: Context) -> None:
        self._store = context.store

    @query
    def find(self, tx: ReadTransaction, account: str, sha256: str) -> UploadedFile | None:
        """The uploaded file with that content, unless it expires soon."""
        return tx.upload(account, sha256)

    @transaction
    def save(self, tx: Transaction, file: UploadedFile) -> None:
        """Record an upload, and delete the rows of expired ones."""
        tx.delete_expired_uploads()
        tx.save_upload(file)

    @transaction
    def delete(self, tx: Transaction, file: UploadedFile) -> None:
        """Remove a file that no longer exists upstream."""
        tx.delete_upload(file)
