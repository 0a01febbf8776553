"""The command that starts a second process of this program."""

from __future__ import annotations

import sys
from pathlib import Path


def self_command(python: str = sys.executable) -> list[str]:
    """
    The command without its verb; it starts the version installed by then, not the one that is running.

    `make install` puts each version into its own folder, `/opt/claude-relay/releases/<version>`, so that a running
    process keeps its files; `/opt/claude-relay/bin` leads to the newest version.
    """
    folders = Path(python).parents
    if len(folders) > 3 and folders[2].name == "releases" and (newest := folders[3] / "bin" / "claude-relay").exists():
        return [str(newest)]

    return [python, "-m", "claude_relay"]
