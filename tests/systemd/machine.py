"""A container with a real systemd and an installed relay."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import requests

import claude_relay
from tests.support.eventually import eventually
from tests.support.needs import lacks, needs

T = TypeVar("T")
_PACKAGE = "/opt/claude-relay/lib/python3*/site-packages/claude_relay"
BOX = Path(__file__).parent / "box"
ROOT = Path(__file__).parents[2]
STATE, ETC, UNITS = "var/lib/claude-relay", "etc/claude-relay", "etc/systemd/system"
API, WORKER, SOCKET = "claude-relay-api.service", "claude-relay-worker.service", "claude-relay-api.socket"
NO_API = "claude-relay-no-api.service"
TARGET, PATH, ALERTS = "claude-relay.target", "claude-relay-alerts.path", "claude-relay-alerts.service"
KEY = "the-secret-of-the-box-0123456789"
UPSTREAM_KEY = "sk-ant-the-key-of-the-box-0123456789"


def needs_of_a_box() -> None:
    """Skip the test where no container can be started."""
    if os.geteuid() != 0:
        lacks("a box with its own systemd needs root")
    for program, package in {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2"}.items():
        needs(program, package)
    for path, package in {"/lib/systemd/systemd": "systemd", "/usr/bin/dbus-daemon": "dbus"}.items():
        if not Path(path).exists():
            lacks(f"{path} is missing: apt-get install {package}")
    if not Path("/sys/fs/cgroup/cgroup.procs").exists() and not Path("/sys/fs/cgroup/unified").exists():
        lacks("a box with its own systemd needs cgroup2")


class Machine:
    """The container. `root` is its file system, as seen from the host."""

    def __init__(self, folder: Path, venv: Path) -> None:
        self._env = {**os.environ, "BOX_STATE": str(folder)}
        self._since = "@0"
        started = subprocess.run([BOX, "start", venv, ROOT], env=self._env, capture_output=True, text=True, timeout=120)
        if started.returncode:
            raise RuntimeError(started.stderr or (folder / "console.log").read_text())
        self.pid = int((folder / "pid1").read_text())
        self.root = Path(f"/proc/{self.pid}/root")
        self._inside = ThreadPoolExecutor(max_workers=64, initializer=self._enter)
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["X-API-Key"] = KEY

    def close(self) -> None:
        self._inside.shutdown(cancel_futures=True)
        subprocess.run([BOX, "stop"], env=self._env, timeout=60)

    def run(self, *command: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command as root in the container."""
        done = subprocess.run(
            [BOX, "exec", *command],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def inside(self, work: Callable[[], T]) -> T:
        """Run `work` on the host, in a thread with the container's network."""
        return self._inside.submit(work).result()

    def inside_all(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """The same, many at once."""
        return list(self._inside.map(lambda work: work(), works))

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def systemctl(self, *args: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", *args, check=check, timeout=timeout)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        said = self.systemctl("show", unit, f"--property={','.join(names)}").stdout
        return dict(line.split("=", 1) for line in said.splitlines())

    def main_pid(self, unit: str) -> int:
        """The main pid, in the PID namespace of the container."""
        return int(self.show(unit, "MainPID")["MainPID"])

    def kill(self, unit: str, signal: str, *, whom: str = "main") -> None:
        self.systemctl("kill", f"--kill-who={whom}", f"--signal={signal}", unit)

    def journal(self, unit: str, *match: str) -> list[dict[str, Any]]:
        """The journal entries of a unit since the test began."""
        self.run("journalctl", "--sync")
        said = self.run("journalctl", "--unit", unit, "--since", self._since, "--output=json", *match).stdout
        return [json.loads(line) for line in said.splitlines()]

    def said(self, unit: str) -> str:
        """All journal messages of a unit."""
        return "\n".join(str(entry.get("MESSAGE")) for entry in self.journal(unit))

    # --- the relay on it ---

    def install(self) -> None:
        """Install units, user and folders, as `make install` does."""
        for unit in (ROOT / "systemd").glob("claude-relay*"):
            self.write(f"{UNITS}/{unit.name}", unit.read_text())
        self.run("systemd-sysusers", "/srv/src/systemd/sysusers.d/claude-relay.conf")
        self.systemctl("daemon-reload")

    def fresh(self, **settings: str) -> None:
        """Stop everything, erase all data, and write these settings."""
        self._since = f"@{time.time():.6f}"
        units = (TARGET, SOCKET, API, WORKER, "claude-relay-worker@*.service", PATH, ALERTS, NO_API)
        for unit in (API, WORKER, SOCKET):  # one that a drop-in keeps from loading cannot be stopped
            self.run("rm", "-rf", f"/{UNITS}/{unit}.d", f"/run/systemd/system/{unit}.d")
        self.systemctl("daemon-reload")
        self.systemctl("kill", "--kill-who=all", "--signal=SIGKILL", API, WORKER, check=False)
        self.systemctl("stop", *units)
        self.systemctl("reset-failed", "claude-relay*", check=False)
        self.upgrade(claude_relay.__version__)
        self.patience(60)
        self.run("sh", "-c", f"rm -rf /{STATE}/* /{STATE}/.[!.]* /{ETC}/*")
        self.settings(**settings)
        self.key("ANTHROPIC_API_KEY", UPSTREAM_KEY)
        self.key("API_SECRET_KEY", KEY)
        self.run("systemd-tmpfiles", "--create", "/srv/src/systemd/tmpfiles.d/claude-relay.conf")
        self.systemctl("daemon-reload")

    def upgrade(self, version: str, *, migration: str = "") -> None:
        """Install another version, with another schema migration, until the next `fresh`."""
        step = f"{_PACKAGE}/storage/sqlite/migrations/9999_more.sql"
        self.run("sh", "-c", f"echo '{migration}' > $(echo {_PACKAGE})/storage/sqlite/migrations/9999_more.sql")
        if not migration:
            self.run("sh", "-c", f"rm {step}")
        self.run("sh", "-c", f"sed -i 's/^__version__ = .*/__version__ = \"{version}\"/' {_PACKAGE}/__init__.py")

    def patience(self, seconds: float) -> None:
        """Set the worker timeout of alerts, and the interval of their trigger, until the next `fresh`."""
        self._set("core/alerts.py", "WORKER_SILENCE", str(seconds))
        self._set("worker/alert_sender.py", "TRIGGER_EVERY", str(seconds))

    def _set(self, module: str, name: str, value: str) -> None:
        """Change a constant in the installed code."""
        file = f"{_PACKAGE}/{module}"
        self.run("sh", "-c", f"grep -q '^{name} = ' {file} && sed -i 's/^{name} = .*/{name} = {value}/' {file}")

    def settings(self, **settings: str) -> None:
        """Write the env file."""
        wanted = {"RELAY_RATE_LIMIT": "off", "RELAY_RATE_LIMIT_SUBMIT": "off", "RELAY_DISK_FLOOR": "0", **settings}
        self.write(f"{ETC}/claude-relay.env", "".join(f"{name}={value}\n" for name, value in wanted.items()))

    def key(self, name: str, value: str, mode: int = 0o600) -> None:
        self.write(f"{ETC}/credentials/{name}", value, mode)

    def drop_in(self, unit: str, text: str) -> None:
        self.write(f"{UNITS}/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def submit(self, **body: Any) -> requests.Response:
        url = "http://127.0.0.1:3000/api/claude"
        return self.inside(lambda: self.http.post(url, json={"prompt": "x", **body}, timeout=60))

    def get(self, path: str) -> Any:
        return self.inside(lambda: self.http.get(f"http://127.0.0.1:3000{path}", timeout=60).json())

    def finished(self, request_id: str, *, within: float = 60) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            status = self.get(f"/api/status/{request_id}")
            return status if status["status"] in ("completed", "failed") else None

        return eventually(ended, within=within, every=0.1)

    def active(self, unit: str, *, other_than: int = 0, within: float = 60) -> int:
        """The main pid of a unit, once it is up (again)."""

        def up() -> int | None:
            told = self.show(unit, "ActiveState", "SubState", "MainPID")
            running = (told["ActiveState"], told["SubState"]) == ("active", "running")
            return int(told["MainPID"]) if running and int(told["MainPID"]) != other_than else None

        return eventually(up, within=within, every=0.1)

    def failed(self, unit: str, *, within: float = 60) -> dict[str, str]:
        """The result of a unit, once it is down for good."""

        def down() -> dict[str, str] | None:
            told = self.show(unit, "ActiveState", "SubState", "ExecMainStatus", "NRestarts", "Result")
            return told if told["ActiveState"] == "failed" else None

        return eventually(down, within=within, every=0.1)

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        handle = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(handle, 0x40000000):  # CLONE_NEWNET, for this thread alone
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(handle)
