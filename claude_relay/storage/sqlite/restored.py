"""Consequences of a restore: keys that are valid again, and headers that cannot be decrypted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from ..header_encryption import HeaderCipher, KeyFile, key_path
from .uri import immutable_uri

_KEYS = "SELECT id, name, revoked_at IS NOT NULL FROM keys ORDER BY name"
# Headers that are still to be sent: of unfinished jobs and of callbacks that are not delivered.
_HEADERS = """
SELECT r.webhook_headers, j.owner, j.id FROM requests r JOIN jobs j ON j.id = r.job_id
WHERE r.webhook_headers IS NOT NULL
AND (j.state NOT IN ('completed', 'failed', 'cancelled')
     OR EXISTS (SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.state != 'delivered'))"""


def previous_path(store: Path) -> Path:
    """The file with the store that a restore has replaced."""
    return store.with_name(store.name + ".before-restore")


def revalidated_keys(store: Path) -> Sequence[str]:
    """Names of API keys that were revoked in the replaced store, and are valid in this one."""
    revoked = {key for key, _, is_revoked in _read(previous_path(store), _KEYS) if is_revoked}

    return [name for key, name, is_revoked in _read(store, _KEYS) if key in revoked and not is_revoked]


def unreadable_headers(store: Path) -> int:
    """The number of jobs whose webhook headers cannot be decrypted with the key file of this store."""
    cipher = HeaderCipher(KeyFile(key_path(store)))

    rows = _read(store, _HEADERS)
    return sum(cipher.decrypt(text, owner=owner, row=job_id) is None for text, owner, job_id in rows)


def _read(path: Path, sql: str) -> Sequence[tuple[Any, ...]]:
    """The rows; nothing where they cannot be read. Creates no log: it would be root's."""
    if not path.exists():
        return []
    try:
        in_use = path.with_name(path.name + "-wal").exists()
        name = str(path) if in_use else immutable_uri(path)
        connection = apsw.Connection(name, flags=apsw.SQLITE_OPEN_READONLY | (0 if in_use else apsw.SQLITE_OPEN_URI))
    except apsw.Error:
        return []
    try:
        return connection.execute(sql).fetchall()
    except apsw.Error:
        return []
    finally:
        connection.close()
