"""Which files Anthropic has from us already: `ports.Shelf`, over the store, for all workers and across restarts."""

from __future__ import annotations

from ..core.stored import StoredFile
from ..ports import Unit
from .values import Tools


class Uploads:
    """Rows only: who uploads, and when that is worth it, is decided in `claude`."""

    def __init__(self, tools: Tools) -> None:
        self._store = tools.store

    def find(self, account: str, sha256: str) -> StoredFile | None:
        """The file with that content, if it is there for a while yet."""
        return self._store.read(lambda view: view.upload(account, sha256))

    def keep(self, file: StoredFile) -> None:
        """It is there now; what has expired is forgotten on the way."""

        def save(unit: Unit) -> None:
            unit.forget_uploads()
            unit.save_upload(file)

        self._store.write(save)

    def drop(self, file: StoredFile) -> None:
        """It is not there any more."""
        self._store.write(lambda unit: unit.drop_upload(file))
