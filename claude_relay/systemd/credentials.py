"""
New credentials for a reload: systemd itself loads them only when a unit starts.

    python -m claude_relay.systemd.credentials UNIT FOLDER

ExecReload= runs this as root, outside the unit's sandbox. It copies the unit's credentials into FOLDER, from where the
next generation reads them; the running one keeps what it has. Only root may write there, and only the unit's user may
read the files.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Variable of a unit with the folder for the copies.
FOLDER = "CLAUDE_RELAY_CREDENTIALS"
_PLAIN, _SEALED = "LoadCredential", "LoadCredentialEncrypted"


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the next generation: it reads the copies, if a reload has made any."""
    folder = environ.get(FOLDER, "")

    return {**environ, **({"CREDENTIALS_DIRECTORY": folder} if folder and Path(folder).is_dir() else {})}


def copy(unit: Mapping[str, Any], folder: Path, *, owner: tuple[int, int]) -> None:
    """Copy the credentials of a unit (`show`) into the folder; one without a file becomes `-`, which means absent."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # whatever the unit's umask is: the files are for one user
    names = set()
    for kind, read in ((_PLAIN, _read_plain), (_SEALED, _read_sealed)):
        for name, path in unit[kind]:
            _write(folder / name, read(name, Path(path)), owner)
            names.add(name)
    for other in folder.iterdir():
        if other.name not in names:
            other.unlink()


def show(unit: str, run: Callable[[Sequence[str]], bytes] = subprocess.check_output) -> dict[str, Any]:
    """User and credentials (name and path) of a unit, with its drop-ins; `systemctl show` prints none of them."""
    names = ("User", _PLAIN, _SEALED)
    escaped = "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):02x}" for c in unit)
    path = f"/org/freedesktop/systemd1/unit/{escaped}"
    bus = "org.freedesktop.systemd1"
    lines = run(["busctl", "--json=short", "get-property", bus, path, f"{bus}.Service", *names]).splitlines()

    return {name: json.loads(line)["data"] for name, line in zip(names, lines, strict=True)}


def _read_plain(_name: str, path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b"-"


def _read_sealed(name: str, path: Path) -> bytes:
    return subprocess.check_output(["systemd-creds", "decrypt", f"--name={name}", path, "-"])


def _write(path: Path, content: bytes, owner: tuple[int, int]) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
    with os.fdopen(handle, "wb") as file:
        os.fchown(handle, *owner)
        file.write(content)
    temporary.replace(path)


def main(argv: Sequence[str]) -> int:
    """Copy the credentials of the unit that the arguments name."""
    name, folder = argv
    unit = show(name)
    user = pwd.getpwnam(unit["User"])
    copy(unit, Path(folder), owner=(user.pw_uid, user.pw_gid))

    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
