"""Loads the settings: reads every source and reports every fault at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..core.lazy_dataclass import dataclass
from ..core.text.suggestions import suggest
from ..errors import ConfigError
from .settings import SettingOrigin, Settings
from .sources import Source, credentials, env_file, with_key_files
from .table import OPTIONS
from .urls import default_store, state_home, store_path

if TYPE_CHECKING:
    from .option import Option

PACKAGE = Path(__file__).parents[1]
DOTENV = Path(".env")
ETC = Path("/etc/claude-relay/claude-relay.env")
#: Names another file for the machine's settings; empty: none is read.
ETC_VARIABLE = "CLAUDE_RELAY_SETTINGS"

_QUOTES = {('"', '"'), ("'", "'"), ("`", "`"), ("“", "”"), ("‘", "’"), ("«", "»"), ("„", "“")}

#: Kubernetes sets these in every container for a service whose name is `relay` or begins with `relay-`; Docker those
#: with PORT in one that is linked to a container of that name.
_SERVICE = (
    r"RELAY_(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=\d+"
    r"|PORT(_\d+_(TCP|UDP|SCTP)(_START|_END)?)?=(tcp|udp|sctp)://.*"
    r"|PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|PORT_START|PORT_END|ADDR)=.*)"
)
#: Docker's name of such a link, `/here/relay`: with it come `RELAY_ENV_…`, the environment of the linked container.
_LINK = re.compile(r"(RELAY(_\w+)?)_NAME=/[^/\s]+/[^/\s]+")

_NAMES = {name for row in OPTIONS for name in (row.name, *row.aliases)}
_FILE_NAMES = {f"{row.name}_FILE" for row in OPTIONS if row.in_file}


@dataclass(frozen=True, kw_only=True)
class _Value:
    """A value of one option in one source; `problem` says why the file that should hold it cannot be read."""

    name: str
    text: str = field(repr=False)
    origin: str
    problem: str


def load(
    environ: Mapping[str, str] | None = None,
    *,
    dotenv: Path | None = DOTENV,
    etc: Path | None = ETC,
    overrides: Mapping[str, str] = MappingProxyType({}),
    all_keys: bool = True,
    tolerant: bool = False,
) -> Settings:
    """
    The settings of this machine, or `ConfigError` with a sentence for each fault.

    `environ` defaults to the environment of this process; `overrides` are command-line flags under the same names.
    Without `all_keys`, a secret's file that cannot be read is no fault: the user may not be allowed to read it.
    `tolerant`: settings with a fault have their defaults.
    """
    environ = os.environ if environ is None else environ
    if etc is ETC and ETC_VARIABLE in environ:
        etc = Path(environ[ETC_VARIABLE]) if environ[ETC_VARIABLE] else None
    sources = _sources(environ, dotenv, etc, overrides)
    faults = [fault for source in sources for fault in (*source.faults, *_unknown_names(source))]
    values: dict[str, Any] = {}
    given: dict[str, SettingOrigin] = {}

    for row in OPTIONS:
        value = next(_values(row, sources), None)
        if value is None:
            continue
        if value.problem:
            faults.extend([value.problem] if all_keys else [])
            continue
        if problem := _quotes(value.text):
            faults.append(_fault(row, value, ValueError(problem)))
            continue
        try:
            values[row.attribute] = row.parse(value.text)
        except ValueError as exc:
            faults.append(_fault(row, value, exc))
        given[row.name] = SettingOrigin(row.show(value.text), value.origin)

    if faults and not tolerant:
        raise ConfigError(faults)
    usual_store = default_store(PACKAGE, Path.cwd(), environ)
    values.setdefault("store", usual_store)

    return Settings(
        **values,
        given=MappingProxyType(given),
        journal_stream=environ.get("JOURNAL_STREAM", ""),
        state_directory=str(_state_folder(environ, usual_store)),
    )


def _state_folder(environ: Mapping[str, str], usual_store: str) -> Path:
    """systemd's state directory; otherwise the folder of the default store if writable; otherwise the user's own."""
    if folder := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(folder)
    path = store_path(usual_store)
    assert path is not None  # the default store is always a file
    parent = path.parent
    if os.access(parent if os.access(parent, os.F_OK) else parent.parent, os.W_OK):
        return parent

    return state_home(environ) or Path("/.local/state/claude-relay")


def _sources(
    environ: Mapping[str, str], dotenv: Path | None, etc: Path | None, overrides: Mapping[str, str]
) -> list[Source]:
    """All sources in order of precedence."""
    secrets = [row.name for row in OPTIONS if row.in_file]
    sources = [Source("the command line", overrides), with_key_files(Source("the environment", environ), secrets)]
    if folder := environ.get("CREDENTIALS_DIRECTORY"):
        sources.append(credentials(Path(folder), secrets))
    if dotenv:
        sources.append(with_key_files(env_file(dotenv, dotenv.name), secrets))

    if etc:
        # A client of a remote relay needs none of this machine's settings, and may not be allowed to read them.
        remote = any(source.texts.get("RELAY_URL") for source in sources)
        sources.append(with_key_files(env_file(etc, str(etc), needed=not remote), secrets))

    return sources


def _values(row: Option, sources: Sequence[Source]) -> Iterator[_Value]:
    """The values of `row` in order of precedence; its own name takes precedence over any alias."""
    for name in (row.name, *row.aliases):
        for source in sources:
            text, problem = source.texts.get(name, "").strip(), source.unreadable.get(name, "")
            if text or problem:
                origin = source.origins.get(name, source.label)
                yield _Value(name=name, text=text, origin=origin, problem=problem)


def _quotes(text: str) -> str | None:
    """The problem of a value in literal quotes: shells and .env files remove them, `docker --env-file` does not."""
    if len(text) > 1 and (text[0], text[-1]) in _QUOTES:
        return "it is in quotes, which are taken as part of it here; write it without them"

    return None


def _fault(row: Option, value: _Value, exc: ValueError) -> str:
    others = [name for name in (row.name, *row.aliases) if name != value.name]
    also = f" (the same setting as {', '.join(others)})" if others else ""
    if row.secret:
        return f"{value.name}{also} from {value.origin} cannot be used: {exc}."

    shown = row.show(value.text)
    shown = (shown if len(shown) <= 80 else f"{shown[:80]}…").encode("unicode_escape").decode()
    return f'{value.name}{also} from {value.origin} is "{shown}": {exc}.'


def _unknown_names(source: Source) -> Iterator[str]:
    """A sentence for each `RELAY_` name that is no setting."""
    links = {match[1] for name, text in source.texts.items() if (match := _LINK.fullmatch(f"{name}={text}"))}
    for name in source.texts:
        if not name.startswith("RELAY_") or name in _NAMES or name in _FILE_NAMES:
            continue
        if re.fullmatch(_SERVICE, f"{name}={source.texts[name]}") or name.removesuffix("_NAME") in links:
            continue
        if any(name.startswith(f"{link}_ENV_") for link in links):
            continue
        setting = name.removesuffix("_FILE")
        if setting in _NAMES:
            yield f"{name} in {source.label}: only secrets can be read from a file; set {setting} itself."
        else:
            closest = _closest(name)
            cure = f"did you mean {closest}?" if closest else "remove it; config show lists every setting."
            yield f"{name} in {source.label} is not a setting: {cure}"


def _closest(name: str) -> str | None:
    """The setting that `name` is probably a misspelling of; the prefix RELAY_ may be the only error."""
    bare = name.removeprefix("RELAY_")

    return bare if bare in _NAMES else suggest(name, _NAMES | _FILE_NAMES)
