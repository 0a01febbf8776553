"""The one object that holds every setting: read once, frozen, handed to whoever needs it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError
from . import postgres
from .option import Option
from .sources import CREDENTIALS
from .table import (
    OPTIONS,
    CallbackSettings,
    ClaudeSettings,
    CliSettings,
    LogSettings,
    SecretSettings,
    ServerSettings,
    StoreSettings,
)
from .urls import shown_store, store_passwords, store_path

_WHERE = "the environment, in .env or in /etc/claude-relay/claude-relay.env"


def _for_a_service(row: Option) -> str:
    return f"; for a service of systemd write it into {CREDENTIALS}/{row.name}" if row.secret else ""


@dataclass(frozen=True)
class SettingOrigin:
    """A value somebody gave: as it may be shown, and where it came from."""

    shown: str
    origin: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(
    SecretSettings, ServerSettings, ClaudeSettings, CallbackSettings, StoreSettings, LogSettings, CliSettings
):
    """
    Every setting under its name in lower case, without `RELAY_`.

    `Settings()` holds the defaults, `Settings(port=0)` all but one of them; `load` reads what the machine says.
    """

    given: Mapping[str, SettingOrigin] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    journal_stream: str = field(default="", compare=False)
    """What systemd says of the journal it reads our output with (`$JOURNAL_STREAM`); told, not set by anyone."""
    state_directory: str = field(default="/var/lib/claude-relay", compare=False)
    """Where state of this machine is kept that belongs to no store: found, not set by anyone."""

    @property
    def store_path(self) -> Path | None:
        """The store's file; None when the store is a server."""
        return store_path(self.store)

    @property
    def store_shown(self) -> str:
        """Where the store is, for people: no password, whatever else is told."""
        return shown_store(self.store)

    @property
    def store_is_remote(self) -> bool:
        """Whether the store is a server that is reached over a network, be it this machine's own."""
        return self.store_path is None and postgres.is_remote(self.store)

    def store_names(self) -> dict[str, str]:
        """A server's `user`, database (`name`) and `host`, and the `account` of this process, for mends."""
        account = pwd.getpwuid(os.geteuid()).pw_name
        user, name, host = postgres.names(self.store)
        where = host if host and not host.startswith("/") else "this machine"

        return {"account": account, "user": user or account, "name": name or user or account, "host": where}

    @property
    def state_folder(self) -> Path:
        """
        Where this machine keeps what is its own, such as the locks of its workers: beside the store where that is a
        file, in a folder of this machine where it is a server.
        """
        path = self.store_path

        return Path(self.state_directory) if path is None else path.parent

    @property
    def production(self) -> bool:
        """Whether this is the real thing rather than somebody's desk."""
        return self.env == "production"

    def models(self) -> tuple[tuple[str, str], ...]:
        """The models that are set, each with the name of its setting."""
        return (("RELAY_MODEL", self.model), *(("RELAY_FALLBACK_MODELS", name) for name in self.fallback_models))

    def origin(self, name: str) -> str:
        """Where the value of `name` came from, such as `the environment`, `.env` or `default`."""
        return self.given[name].origin if name in self.given else "default"

    def shown(self, name: str) -> str:
        """The value of `name` as a person may see it: as it was written, secrets hidden."""
        if name in self.given:
            return self.given[name].shown

        return next(row.default for row in OPTIONS if row.name == name)

    def secrets(self) -> tuple[str, ...]:
        """Every text that must never be shown, for whoever writes for others to read."""
        found: list[str] = []
        for row in OPTIONS:
            value = getattr(self, row.attribute)
            if row.secret and value:
                found.extend((value,) if isinstance(value, str) else value)
            elif row.may_hold_secret:
                found.extend(store_passwords(value))
            elif isinstance(value, str) and "://" in value and (password := urlsplit(value).password):
                found.extend({password, unquote(password)})

        return tuple(found)

    def require(self, *names: str) -> None:
        """Raise ConfigError, one sentence for each of `names` that has no value."""
        missing = [row for row in OPTIONS if row.name in names and getattr(self, row.attribute) in (None, "", ())]
        if missing:
            raise ConfigError([f"{row.name} is missing: set it in {_WHERE}{_for_a_service(row)}." for row in missing])

    def __repr__(self) -> str:
        told = " ".join(f"{name}={self.given[name].shown}" for name in self.given)
        return f"<Settings {told or 'all default'}>"
