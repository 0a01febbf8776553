"""The machine as the checks see it: its paths, its commands and its clock. Tests replace it."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import field
from pathlib import Path

from ...container import daemons
from ...core.lazy_dataclass import dataclass

UNITS = (
    "claude-relay.target",
    "claude-relay-api.socket",
    "claude-relay-api.service",
    "claude-relay-alerts.path",
    "claude-relay-worker.service",
)

#: The services among them, and the one that sends alerts: all of them open the store.
DAEMONS = ("claude-relay-api.service", "claude-relay-worker.service", "claude-relay-alerts.service")

#: Makes the daemons load new settings: the socket stays open meanwhile, and no running call is interrupted.
RESTART = "systemctl restart claude-relay-api && systemctl reload claude-relay-worker"
#: The same for new secrets, also where a service did not start without them.
RESTART_FOR_SECRETS = "systemctl reload-or-restart claude-relay-api claude-relay-worker"

#: Stops the daemons and waits for them: a stop of the target alone returns at once, while the worker still brings its
#: calls to their end.
STOP = (
    "systemctl stop claude-relay.target claude-relay-api.socket claude-relay-api claude-relay-worker"
    " 'claude-relay-worker@*'"
)


def run_command(command: Sequence[str]) -> str | None:
    """The stdout of a command; None if it does not exist, fails or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None

    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True, kw_only=True)
class System:
    """A server or a workstation."""

    etc: Path = Path("/etc/claude-relay")
    dotenv: Path = Path(".env")
    booted: Path = Path("/run/systemd/system")  # exists where systemd is PID 1 (sd_booted(3))
    unit_folders: tuple[Path, ...] = (
        Path("/etc/systemd/system"),
        Path("/usr/local/lib/systemd/system"),
        Path("/usr/lib/systemd/system"),
    )
    #: The daemons of the container that this is; None outside of one.
    container: frozenset[str] | None = field(default_factory=daemons)
    environ: Container[str] = field(default_factory=lambda: os.environ)
    run: Callable[[Sequence[str]], str | None] = field(default=run_command)
    now: Callable[[], float] = field(default=time.time)

    @property
    def env_file(self) -> Path:
        """The settings file of this machine."""
        return self.etc / "claude-relay.env"

    @property
    def credentials(self) -> Path:
        """The folder of the systemd credentials, one file for each secret."""
        return self.etc / "credentials"

    @property
    def under_systemd(self) -> bool:
        """Whether systemd runs this machine and our units are installed."""
        return self.booted.is_dir() and any((folder / UNITS[-1]).exists() for folder in self.unit_folders)

    def has_credential(self, name: str) -> bool | None:
        """Whether there is a file for that secret; None if this user may not list them."""
        try:
            return (self.credentials / name).exists()
        except PermissionError:
            return None

    def elsewhere(self, daemon: str) -> bool:
        """Whether this is a container without that daemon, which has its settings in another one."""
        return self.container is not None and daemon not in self.container

    def daemon_user(self) -> int | None:
        """The user of most of the daemons' units; None without systemd, or where it is not known."""
        output = self.run(("systemctl", "show", "--property=User", *DAEMONS)) if self.under_systemd else None
        names = [line.removeprefix("User=") for line in (output or "").splitlines() if line.startswith("User=")]
        try:
            return pwd.getpwnam(Counter(names).most_common(1)[0][0]).pw_uid
        except (IndexError, KeyError):
            return None

    def set_command(self, line: str) -> str:
        """The command that sets `NAME=value` in a settings file, where the last line with a name counts."""
        name = line.partition("=")[0]
        if self.container is not None:  # compose reads the keys from .env (docker-compose.yml)
            quote = '"' if "$(" in line else "'"
            beside = ".env" if name in ("ANTHROPIC_API_KEY", "API_SECRET_KEY") else "relay.env"
            return (
                f"on the host, beside docker-compose.yml: echo {quote}{line}{quote} >> {beside} && docker compose up "
                f"--detach (without compose: docker run -e {name}=…)"
            )
        if name in self.environ and not self.under_systemd:  # the environment takes precedence over a file
            return f"set {line} in the environment, where {name} is set now,{self._then()}"
        file = self.env_file if self.under_systemd or self.env_file.exists() else self.dotenv
        quote = '"' if "$(" in line else "'"

        return f"echo {quote}{line}{quote} >> {file}{self._then()}"

    def _then(self) -> str:
        return f" && {RESTART}" if self.under_systemd else " and start the daemons again"
