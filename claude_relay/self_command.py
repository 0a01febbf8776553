"""How this program is started again, by whoever keeps a second process of it."""

from __future__ import annotations

import sys
from pathlib import Path


def self_command(python: str = sys.executable) -> list[str]:
    """
    The command without its verb: the version that is installed by then, not the one that is running.

    `make install` puts each version into a folder of its own, `/opt/claude-relay/releases/<version>`, so that what runs
    keeps the files it began with; `/opt/claude-relay/bin` leads to the newest.
    """
    folders = Path(python).parents
    if len(folders) > 3 and folders[2].name == "releases" and (newest := folders[3] / "bin" / "claude-relay").exists():
        return [str(newest)]

    return [python, "-m", "claude_relay"]
