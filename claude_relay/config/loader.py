"""Reads the settings once: every source, every name, every fault in one go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..core.text.suggestions import suggest
from ..errors import ConfigError
from .option import Option
from .settings import SettingOrigin, Settings
from .sources import Source, credentials, env_file, with_key_files
from .table import OPTIONS
from .urls import default_store, store_path

PACKAGE = Path(__file__).parents[1]
DOTENV = Path(".env")
ETC = Path("/etc/claude-relay/claude-relay.env")

_KNOWN = {name for row in OPTIONS for name in (row.name, *row.aliases)}
_TWINS = {f"{row.name}_FILE" for row in OPTIONS if row.in_file}


def load(
    environ: Mapping[str, str] | None = None,
    *,
    dotenv: Path | None = DOTENV,
    etc: Path | None = ETC,
    overrides: Mapping[str, str] = MappingProxyType({}),
    all_keys: bool = True,
) -> Settings:
    """
    The settings as this machine has them, or ConfigError with a sentence for each fault.

    `environ` is this process's where none is given; `overrides` are flags of the command line, by the same names.
    Without `all_keys` a file that should hold a secret and cannot be read is no fault: whoever asks may not read it.
    """
    environ = os.environ if environ is None else environ
    sources = _sources(environ, dotenv, etc, overrides)
    faults = [fault for source in sources for fault in (*source.faults, *_strangers(source))]
    values: dict[str, Any] = {}
    given: dict[str, SettingOrigin] = {}

    for row in OPTIONS:
        found = next(_found(row, sources), None)
        if found is None:
            continue
        name, text, origin, unread = found
        if unread:
            faults.extend([unread] if all_keys else [])
            continue
        try:
            values[row.attribute] = row.parse(text)
        except ValueError as exc:
            faults.append(_fault(row, name, text, origin, exc))
        given[row.name] = SettingOrigin(row.show(text), origin)

    if faults:
        raise ConfigError(faults)
    usual = default_store(PACKAGE, Path.cwd())
    values.setdefault("store", usual)

    return Settings(
        **values,
        given=MappingProxyType(given),
        journal_stream=environ.get("JOURNAL_STREAM", ""),
        state_directory=str(_state_folder(environ, usual)),
    )


def _state_folder(environ: Mapping[str, str], usual_store: str) -> Path:
    """Where systemd says; else where a store that is a file would be; else, where that is not ours, at home."""
    if told := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(told)
    path = store_path(usual_store)
    assert path is not None  # a file, wherever one stands
    folder = path.parent
    if os.access(folder if folder.exists() else folder.parent, os.W_OK):
        return folder

    return Path(environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "/")) / ".local" / "state") / "claude-relay"


def _sources(
    environ: Mapping[str, str], dotenv: Path | None, etc: Path | None, overrides: Mapping[str, str]
) -> list[Source]:
    """All that there are, the strongest first."""
    secrets = [row.name for row in OPTIONS if row.in_file]
    sources = [Source("the command line", overrides), with_key_files(Source("the environment", environ), secrets)]
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        sources.append(credentials(Path(folder), secrets))
    if dotenv:
        sources.append(with_key_files(env_file(dotenv, dotenv.name), secrets))

    if etc:
        # Whoever talks to a relay elsewhere needs nothing of this machine's own, and may not be let into its settings.
        remote = any(source.texts.get("RELAY_URL") for source in sources)
        sources.append(with_key_files(env_file(etc, str(etc), needed=not remote), secrets))

    return sources


def _found(row: Option, sources: Sequence[Source]) -> Iterator[tuple[str, str, str, str]]:
    """
    Wherever `row` has a value: the name used, the text, its origin, and why it cannot be read where it cannot. Its own
    name counts before any alias.
    """
    for name in (row.name, *row.aliases):
        for source in sources:
            text, unread = source.texts.get(name, "").strip(), source.unread.get(name, "")
            if text or unread:
                yield name, text, source.origins.get(name, source.label), unread


def _fault(row: Option, name: str, text: str, origin: str, exc: ValueError) -> str:
    others = [other for other in (row.name, *row.aliases) if other != name]
    also = f" (the same setting as {', '.join(others)})" if others else ""
    if row.secret:
        return f"{name}{also} from {origin} cannot be used: {exc}."

    shown = row.show(text)
    shown = (shown if len(shown) <= 80 else f"{shown[:80]}…").encode("unicode_escape").decode()
    return f'{name}{also} from {origin} is "{shown}": {exc}.'


def _strangers(source: Source) -> Iterator[str]:
    """A sentence for each name that looks like ours and is not."""
    for name in source.texts:
        if not name.startswith("RELAY_") or name in _KNOWN or name in _TWINS:
            continue
        if name.removesuffix("_FILE") in _KNOWN:
            yield f"{name} in {source.label}: only secrets may lie in a file; set {name.removesuffix('_FILE')} itself."
        else:
            near = _closest(name)
            cure = f"did you mean {near}?" if near else "remove it; config show lists every setting."
            yield f"{name} in {source.label} is no setting: {cure}"


def _closest(name: str) -> str | None:
    """The setting that `name` is probably a misspelling of; the prefix RELAY_ may be the only error."""
    bare = name.removeprefix("RELAY_")

    return bare if bare in _KNOWN else suggest(name, _KNOWN | _TWINS)
