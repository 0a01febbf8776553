"""
Where settings are written, the strongest first.

    flags of the command line > environment > systemd credentials > .env here > /etc/claude-relay/claude-relay.env

A secret may also lie in a file of its own that NAME_FILE points to, at the strength of wherever NAME_FILE stands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_KEY_LIMIT = 64 * 1024
#: What people call what systemd laid down.
CREDENTIAL = "a systemd credential"
#: Where the units load their credentials from.
CREDENTIALS = Path("/etc/claude-relay/credentials")


@dataclass(frozen=True)
class Source:
    """
    Texts by name; what people call the place, and where within it where that says more; what is wrong with it.

    `unread` are sentences by name on files that should hold a secret and cannot be read: faults where it is this
    source's value that counts.
    """

    label: str
    texts: Mapping[str, str]
    faults: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)


def env_file(path: Path, label: str, *, needed: bool = True) -> Source:
    """The settings in a file of NAME=value lines; none where it is missing, or cannot be read and is not `needed`."""
    try:
        written = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return Source(label, {})
    except OSError as exc:
        fault = f"{path} cannot be read ({exc.strerror}): let this user read it, or run as one who may."
        return Source(label, {}, (fault,) if needed else ())
    except UnicodeDecodeError:
        return Source(label, {}, (f"{path} is not UTF-8 text: save it as UTF-8.",))

    # Imported here: most runs on a server have no such file, and it costs milliseconds.
    from io import StringIO

    from dotenv.parser import parse_stream

    texts: dict[str, str] = {}
    faults: list[str] = []
    for line in parse_stream(StringIO(written)):
        if line.error:
            faults.append(f"{path}, line {line.original.line}, cannot be read: write NAME=value, quotes closed.")
        elif line.key is not None:
            texts[line.key] = line.value or ""

    return Source(label, texts, tuple(faults))


def with_key_files(source: Source, secrets: Sequence[str]) -> Source:
    """`source` with the contents of the files that its NAME_FILE settings point to."""
    texts = dict(source.texts)
    origins: dict[str, str] = {}
    faults = list(source.faults)
    unread: dict[str, str] = {}
    for name in secrets:
        path = texts.get(f"{name}_FILE", "").strip()
        if not path:
            continue
        if texts.get(name, "").strip():
            faults.append(f"{name} and {name}_FILE are both set in {source.label}: keep one of the two.")
            continue
        texts[name], wrong = _key_file(Path(path), f"{name}_FILE")
        origins[name] = f"{path} ({name}_FILE in {source.label})"
        if wrong:
            unread[name] = wrong[0]

    return replace(source, texts=texts, faults=tuple(faults), origins=origins, unread=unread)


def credentials(folder: Path, secrets: Sequence[str]) -> Source:
    """
    Secrets that systemd laid down for this service, under their names in upper or lower case.

    One that is just `-` is none: what a unit lays down (`SetCredential=NAME:-`) where the sysadmin has no such file.
    """
    texts: dict[str, str] = {}
    faults: list[str] = []
    if not os.access(folder, os.X_OK):
        return Source(CREDENTIAL, {}, (f"The systemd credentials in {folder} cannot be read by this user.",))
    for name in secrets:
        path = next((path for path in (folder / name, folder / name.lower()) if path.exists()), None)
        if path is not None:
            text, wrong = _key_file(path, f"The systemd credential {path.name}", CREDENTIALS / path.name)
            faults.extend(wrong)
            if text != "-":
                texts[name] = text

    return Source(CREDENTIAL, texts, tuple(faults))


def _key_file(path: Path, called: str, mend: Path | None = None) -> tuple[str, list[str]]:
    """The one secret in a file, and what is wrong with the file; `mend` is where to write, where that is another."""
    try:
        with path.open("rb") as file:
            text = file.read(_KEY_LIMIT).decode().strip()
    except OSError as exc:
        return "", [f"{called} cannot be read from {path} ({exc.strerror}): mend the path or the rights of the file."]
    except UnicodeDecodeError:
        return "", [f"{called} in {path} is not text: write the key alone into the file."]
    if not text:
        return "", [f"{called} is empty: write the key into {mend or path}."]

    return text, []
