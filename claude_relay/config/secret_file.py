"""
Where a secret is kept, and how another is put in its place: whole or not at all, everything else as it was.

The relay reads its secrets at its start and writes none; only the command that changes one comes here.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from .sources import env_file


@dataclass(frozen=True, kw_only=True)
class SettingLocation:
    """A file that holds a secret: alone in it, or (`name`) as one of its settings. `text` is what stands there now."""

    path: Path
    name: str | None = None
    text: str = ""


def find_place(name: str, environ: Mapping[str, str], *, dotenv: Path, etc: Path) -> SettingLocation:
    """
    Where the daemons get `name` from, or would; raises `ConfigError` where that is no file of ours to write.

    A file that is named by NAME_FILE, the .env here, the file that systemd makes a credential of, the settings of this
    machine: the first that has it; else the first that is there.
    """
    if environ.get(name, "").strip():
        raise ConfigError([f"{name} stands in the environment, which cannot be changed from here."])
    settings = [(path, env_file(path, str(path)).texts) for path in (dotenv, etc)]
    for texts in (environ, *(texts for _, texts in settings)):
        if pointed := texts.get(f"{name}_FILE", "").strip():
            return _alone(Path(pointed))
    credential = etc.parent / "credentials" / name
    known = [_within(path, name, texts.get(name, "")) for path, texts in settings if path.exists()]
    if set_here := next((place for place in known if place.text and place.path == dotenv), None):
        return set_here
    if credential.exists():
        return _alone(credential)
    if set_there := next((place for place in known if place.text), None):
        return set_there
    if dotenv.exists():
        return known[0]
    if credential.parent.is_dir():
        return SettingLocation(path=credential)
    if known:
        return known[0]
    raise ConfigError([f"there is no settings file to keep {name} in: claude-relay config init makes one."])


def write_setting(place: SettingLocation, text: str) -> None:
    """Write it there. Raises `ConfigError`, with nothing changed, where that cannot be done."""
    try:
        path = place.path.resolve()
        written = path.read_bytes().decode() if path.exists() else ""  # with the line ends it has
        fresh = text + "\n" if place.name is None else _with(written, place.name, text)
        _replace(path, fresh)
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError([f"{place.path} cannot be written ({why})."]) from exc


def _alone(path: Path) -> SettingLocation:
    try:
        return SettingLocation(path=path, text=path.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return SettingLocation(path=path)
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError([f"{path} cannot be read ({why}): run this as one who may, such as root."]) from exc


def _within(path: Path, name: str, text: str) -> SettingLocation:
    return SettingLocation(path=path, name=name, text=text.strip())


def _with(written: str, name: str, text: str) -> str:
    """The same file with that value: where the setting stands, or is commented out, or at the end."""
    value = r"(?:\"[^\"\r\n]*\"|'[^'\r\n]*'|[^#\r\n]*?)(?P<rest>[ \t]*(?:#[^\r\n]*)?\r?)$"
    present = re.compile(rf"^(?P<head>[ \t]*(?:export[ \t]+)?{name}[ \t]*=[ \t]*){value}", re.MULTILINE)
    fresh, count = present.subn(lambda found: f"{found['head']}{text}{found['rest']}", written)
    if not count:
        fresh, count = re.subn(
            rf"^#[ \t]*{name}[ \t]*=[^\r\n]*", f"{name}={text}", written, count=1, flags=re.MULTILINE
        )
    if not count:
        ending = "" if not written or written.endswith("\n") else "\n"
        fresh = f"{written}{ending}{name}={text}\n"

    return fresh


def _replace(path: Path, text: str) -> None:
    """Another file in its place, with the old one's owner and mode; a power cut leaves the one or the other."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    known = path.stat() if path.exists() else None
    handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            if known is not None:
                if os.geteuid() == 0:
                    os.fchown(handle, known.st_uid, known.st_gid)
                os.fchmod(handle, known.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(handle)
        half.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            half.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
