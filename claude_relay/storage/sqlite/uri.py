"""File names as SQLite URIs: the one place that quotes them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote


def immutable_uri(path: Path) -> str:
    """The URI that opens a file without locks and without its log, whatever characters are in its name."""
    return f"file:{quote(str(path.absolute()))}?immutable=1"
