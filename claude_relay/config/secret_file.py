"""
Location and atomic replacement of a secret in the files of settings.

The relay reads its secrets at startup and writes none; only the command that rotates one uses this module.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from ..core.lazy_dataclass import dataclass
from ..errors import ConfigError
from .sources import env_file


@dataclass(frozen=True, kw_only=True)
class SettingLocation:
    """A file that holds a secret, alone or (`name`) as one of its settings; `text` is the current value."""

    path: Path
    name: str | None = None
    text: str = field(default="", repr=False)


def find_location(name: str, environ: Mapping[str, str], *, dotenv: Path, etc: Path) -> SettingLocation:
    """
    The file from which the daemons read `name`, or would; raises `ConfigError` if that is no file to write to.

    The candidates are the file named by NAME_FILE, the local .env, the file from which systemd makes a credential, and
    this machine's settings file: the first that has a value, otherwise the first that exists.
    """
    if environ.get(name, "").strip():
        raise ConfigError([f"{name} is set in the environment, which cannot be changed from here."])
    settings = [(path, env_file(path, str(path)).texts) for path in (dotenv, etc)]
    for texts in (environ, *(texts for _, texts in settings)):
        if file := texts.get(f"{name}_FILE", "").strip():
            return _file_of_its_own(Path(file))
    credential = etc.parent / "credentials" / name
    existing = [_setting_in(path, name, texts.get(name, "")) for path, texts in settings if path.exists()]
    if in_dotenv := next((place for place in existing if place.text and place.path == dotenv), None):
        return in_dotenv
    if credential.exists():
        return _file_of_its_own(credential)
    if in_etc := next((place for place in existing if place.text), None):
        return in_etc
    if dotenv.exists():
        return existing[0]
    if credential.parent.is_dir():
        return SettingLocation(path=credential)
    if existing:
        return existing[0]
    raise ConfigError([f"there is no settings file for {name}: create one with claude-relay config init."])


def write_setting(place: SettingLocation, text: str) -> None:
    """Write the value to its place. Raises `ConfigError`, with nothing changed, if that is impossible."""
    try:
        path = place.path.resolve()
        current = path.read_bytes().decode() if path.exists() else ""  # bytes, to keep the line ends
        _replace(path, text + "\n" if place.name is None else _with_setting(current, place.name, text))
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError([f"{place.path} cannot be written ({why})."]) from exc


def _file_of_its_own(path: Path) -> SettingLocation:
    try:
        return SettingLocation(path=path, text=path.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return SettingLocation(path=path)
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError([f"{path} cannot be read ({why}): run this as a user who may, such as root."]) from exc


def _setting_in(path: Path, name: str, text: str) -> SettingLocation:
    return SettingLocation(path=path, name=name, text=text.strip())


def _with_setting(current: str, name: str, text: str) -> str:
    """The file's text with the new value: in place of the setting, of its commented-out line, or at the end."""
    value = r"(?:\"[^\"\r\n]*\"|'[^'\r\n]*'|[^#\r\n]*?)(?P<rest>[ \t]*(?:#[^\r\n]*)?\r?)$"
    setting = re.compile(rf"^(?P<head>[ \t]*(?:export[ \t]+)?{name}[ \t]*=[ \t]*){value}", re.MULTILINE)
    updated, count = setting.subn(lambda match: f"{match['head']}{text}{match['rest']}", current)
    if not count:
        updated, count = re.subn(
            rf"^#[ \t]*{name}[ \t]*=[^\r\n]*", f"{name}={text}", current, count=1, flags=re.MULTILINE
        )
    if not count:
        ending = "" if not current or current.endswith("\n") else "\n"
        updated = f"{current}{ending}{name}={text}\n"

    return updated


def _replace(path: Path, text: str) -> None:
    """Replace the file atomically, keeping its owner and mode; a power cut leaves the old or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    existing = path.stat() if path.exists() else None
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            if existing is not None:
                if os.geteuid() == 0:
                    os.fchown(handle, existing.st_uid, existing.st_gid)
                os.fchmod(handle, existing.st_mode & 0o7777)
            file.write(text)
            file.flush()
            os.fsync(handle)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
