"""
Sources of settings, in order of precedence.

    flags of the command line > environment > systemd credentials > .env here > /etc/claude-relay/claude-relay.env

A secret may also be in a file of its own that NAME_FILE points to, with the precedence of the source of NAME_FILE.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from ..core.lazy_dataclass import dataclass

_KEY_LIMIT = 64 * 1024
#: Label of the values that systemd provides.
CREDENTIAL = "a systemd credential"
#: Directory from which the units load their credentials.
CREDENTIALS = Path("/etc/claude-relay/credentials")


@dataclass(frozen=True)
class Source:
    """
    Values by name, with a label, more precise origins where there are any, and faults.

    `unreadable` has a sentence by name for each secret whose file cannot be read: a fault if this source's value is the
    one to use.
    """

    label: str
    texts: Mapping[str, str] = field(repr=False)
    faults: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)


def env_file(path: Path, label: str, *, needed: bool = True) -> Source:
    """Settings from a file of NAME=value lines; none if it is missing, or is unreadable and not `needed`."""
    try:
        written = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return Source(label, {})
    except OSError as exc:
        cure = _folder_cure(path.absolute().parent)
        fault = f"{path} cannot be read ({exc.strerror}): {cure or 'let this user read it, or run as a user who may.'}"
        return Source(label, {}, (fault,) if needed else ())
    except UnicodeDecodeError:
        return Source(label, {}, (f"{path} is not UTF-8 text: save it as UTF-8.",))

    # Imported here: most runs on a server have no such file, and the import costs milliseconds.
    from io import StringIO

    from dotenv.parser import parse_stream

    texts: dict[str, str] = {}
    faults: list[str] = []
    for line in parse_stream(StringIO(written)):
        if line.error:
            faults.append(f"{path}, line {line.original.line}, cannot be parsed: write NAME=value, with quotes closed.")
        elif line.key is not None:
            texts[line.key] = line.value or ""

    return Source(label, texts, tuple(faults))


def _folder_cure(folder: Path) -> str | None:
    """The command for a folder that this user may not enter, as a container's with another `--user`."""
    try:
        info = folder.stat()
    except OSError:
        return None
    if os.access(folder, os.X_OK, effective_ids=True):
        return None
    user = os.geteuid()

    owners = f"uid {info.st_uid} and group {info.st_gid} (mode {stat.S_IMODE(info.st_mode):o})"

    detail = f"uid {user} may not enter {folder}, which belongs to {owners}. Run it with that group"
    if "INVOCATION_ID" in os.environ:  # a unit of systemd
        return f"{detail}, such as by Group= of its unit."
    try:
        name, group = pwd.getpwuid(user).pw_name, grp.getgrgid(info.st_gid).gr_name
    except KeyError:  # as in a container
        pass
    else:
        if info.st_gid:
            return f"{name} may not enter {folder}: use sudo, or: sudo usermod -aG {group} {name}, and log in again."

    return f"{detail} (docker run --user {user}:{info.st_gid}), or as root: chown -R {user} {folder}."


def with_key_files(source: Source, secrets: Sequence[str]) -> Source:
    """`source` with the contents of the files that its NAME_FILE settings point to."""
    texts = dict(source.texts)
    origins: dict[str, str] = {}
    faults = list(source.faults)
    unreadable: dict[str, str] = {}
    for name in secrets:
        path = texts.get(f"{name}_FILE", "").strip()
        if not path:
            continue
        if texts.get(name, "").strip():
            faults.append(f"{name} and {name}_FILE are both set in {source.label}: keep one of the two.")
            continue
        texts[name], problems = _key_file(Path(path), f"{name}_FILE")
        origins[name] = f"{path} ({name}_FILE in {source.label})"
        if problems:
            unreadable[name] = problems[0]

    return replace(source, texts=texts, faults=tuple(faults), origins=origins, unreadable=unreadable)


def credentials(folder: Path, secrets: Sequence[str]) -> Source:
    """
    Secrets that systemd provides for this service, under their names in upper or lower case.

    A value of `-` counts as absent: units set it (`SetCredential=NAME:-`) where the sysadmin has no such file.
    """
    texts: dict[str, str] = {}
    faults: list[str] = []
    if not os.access(folder, os.X_OK):
        return Source(CREDENTIAL, {}, (f"The systemd credentials in {folder} cannot be read by this user.",))
    for name in secrets:
        path = next((path for path in (folder / name, folder / name.lower()) if path.exists()), None)
        if path is not None:
            text, problems = _key_file(path, f"The systemd credential {path.name}", CREDENTIALS / path.name)
            faults.extend(problems)
            if text != "-":
                texts[name] = text

    return Source(CREDENTIAL, texts, tuple(faults))


def _key_file(path: Path, called: str, target: Path | None = None) -> tuple[str, list[str]]:
    """The secret in a file, and the file's problems; `target` is the file to edit, if that is another one."""
    try:
        with path.open("rb") as file:
            text = file.read(_KEY_LIMIT).decode().strip()
    except OSError as exc:
        return "", [
            f"{called} cannot be read from {path} ({exc.strerror}): correct the path or the file's permissions."
        ]
    except UnicodeDecodeError:
        return "", [f"{called} in {path} is not UTF-8 text: write only the key into the file."]
    if not text:
        return "", [f"{called} is empty: write the key into {target or path}."]

    return text, []
