"""What the checks look at: where things lie on a server, and what its commands say. Tests hand in another."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

UNITS = (
    "claude-relay.target",
    "claude-relay-api.socket",
    "claude-relay-api.service",
    "claude-relay-alerts.path",
    "claude-relay-worker.service",
)

#: What makes the daemons take new settings: the socket stays open meanwhile, and every call is brought home.
AGAIN = "systemctl restart claude-relay-api && systemctl reload claude-relay-worker"
#: The same for new secrets: systemd hands them over when a service starts, and a reload keeps those of before.
AGAIN_FOR_SECRETS = "systemctl restart claude-relay-api claude-relay-worker"


def run_command(command: Sequence[str]) -> str | None:
    """What the command writes to stdout; None where it is not there, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None

    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True, kw_only=True)
class System:
    """A server, or a desk."""

    etc: Path = Path("/etc/claude-relay")
    dotenv: Path = Path(".env")
    booted: Path = Path("/run/systemd/system")  # there where systemd is PID 1 (sd_booted(3))
    unit_folders: tuple[Path, ...] = (
        Path("/etc/systemd/system"),
        Path("/usr/local/lib/systemd/system"),
        Path("/usr/lib/systemd/system"),
    )
    environ: Container[str] = field(default_factory=lambda: os.environ)
    run: Callable[[Sequence[str]], str | None] = field(default=run_command)
    now: Callable[[], float] = field(default=time.time)

    @property
    def env_file(self) -> Path:
        """The settings of this machine."""
        return self.etc / "claude-relay.env"

    @property
    def credentials(self) -> Path:
        """Where systemd takes the secrets from, one file each."""
        return self.etc / "credentials"

    @property
    def under_systemd(self) -> bool:
        """Whether systemd runs this machine and knows our units."""
        return self.booted.is_dir() and any((folder / UNITS[-1]).exists() for folder in self.unit_folders)

    def has_credential(self, name: str) -> bool | None:
        """Whether there is a file for that secret; None where this user may not look."""
        try:
            return (self.credentials / name).exists()
        except PermissionError:
            return None

    def put(self, line: str) -> str:
        """The command that gives a setting a value: of two lines in a file the last one counts."""
        name = line.partition("=")[0]
        if name in self.environ and not self.under_systemd:  # a file would not be asked
            return f"set {line} in the environment, where {name} stands now,{self._then()}"
        file = self.env_file if self.under_systemd or self.env_file.exists() else self.dotenv
        quote = '"' if "$(" in line else "'"

        return f"echo {quote}{line}{quote} >> {file}{self._then()}"

    def _then(self) -> str:
        return f" && {AGAIN}" if self.under_systemd else " and start the daemons again"
