"""Which files Anthropic has from us already: `ports.Shelf`, over the store, for all workers and across restarts."""

from __future__ import annotations

from ..core.files.uploaded import UploadedFile
from ..ports import Transaction
from .context import Context


class UploadedFiles:
    """Rows only: who uploads, and when that is worth it, is decided in `claude`."""

    def __init__(self, context: Context) -> None:
        self._store = context.store

    def find(self, account: str, sha256: str) -> UploadedFile | None:
        """The file with that content, if it is there for a while yet."""
        return self._store.read(lambda tx: tx.upload(account, sha256))

    def save(self, file: UploadedFile) -> None:
        """It is there now; what has expired is forgotten on the way."""

        def save(tx: Transaction) -> None:
            tx.delete_expired_uploads()
            tx.save_upload(file)

        self._store.write(save)

    def delete(self, file: UploadedFile) -> None:
        """It is not there any more."""
        self._store.write(lambda tx: tx.delete_upload(file))
