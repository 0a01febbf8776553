"""The registry of storage engines, and the laziness of the package that it is in."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from claude_relay import wiring
from claude_relay.config import Settings, postgres
from claude_relay.errors import ConfigError, StoreUnavailable
from claude_relay.events import hub
from claude_relay.storage import migrate
from claude_relay.wiring.engines import ENGINES, Engine, PostgresEngine, SqliteEngine, engine_of
from claude_relay.wiring.upstream import open_client
from claude_relay.worker.checkpoints import GATHER

PACKAGE = Path(__file__).parents[2] / "claude_relay"
SERVER = Settings(store="postgresql://relay@127.0.0.1:1/relay")


def test_each_scheme_of_the_settings_has_an_engine() -> None:
    assert set(ENGINES) == {"sqlite", *postgres.SCHEMES}
    assert type(engine_of(Settings(store="sqlite:////x/relay.db"))) is SqliteEngine
    assert type(engine_of(SERVER)) is PostgresEngine


@pytest.mark.parametrize("engine", list(dict.fromkeys(ENGINES.values())), ids=lambda engine: engine.name)
def test_each_engine_has_a_first_migration(engine: type[Engine]) -> None:
    assert [step.name for step in migrate.steps(engine.name)][:1] == ["first"]


def test_a_file_is_on_this_machine_and_a_server_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    engine = engine_of(Settings(store=f"sqlite:///{path}"))

    assert (engine.file, engine.key_file, engine.shared) == (path, tmp_path / "relay.db.key", False)
    assert engine.schema() is None and engine.is_missing(StoreUnavailable("x"))
    engine.check_backups(tmp_path / "copy.db")
    server = engine_of(SERVER)
    assert (server.file, server.key_file, server.shared, server.disk_reserve()) == (None, None, True, None)
    assert server.schema() is None and server.space_check()() is None
    with pytest.raises(ConfigError, match=r"pg_dump .*copy\.db"):
        server.check_backups(tmp_path / "copy.db")


def test_only_the_engines_ask_whether_the_store_is_a_file() -> None:
    """Whatever depends on the kind of store is a method of its engine."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"\.store_path\b", path.read_text())
    }

    assert {path for path in users if not path.startswith("config/")} == {"wiring/engines.py"}


def test_every_name_of_the_package_is_found() -> None:
    for name in wiring.__all__:
        assert getattr(wiring, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wiring.nothing  # type: ignore[attr-defined]


def test_an_engine_is_chosen_without_a_driver_a_server_or_an_sdk() -> None:
    """Completion in a shell and `status` choose one, and must not pay for the others."""
    code = (
        "import sys; from claude_relay.wiring import engine_of; from claude_relay.config import Settings;"
        "engine_of(Settings());"
        "print([name for name in ('apsw', 'psycopg', 'falcon', 'anthropic', 'requests') if name in sys.modules])"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=PACKAGE.parent).strip() == "[]"


def test_text_crosses_machines_within_a_second() -> None:
    """The checkpoint and its wait, the time until it is read again, and a round of the reader; a twentieth is left."""
    relay = SimpleNamespace(uploaded_files=None)
    with contextlib.ExitStack() as stack:
        client = open_client(SERVER, stack, pacing=None, relay=relay)  # type: ignore[arg-type]
        assert client._limits.checkpoint + GATHER + hub._TEXT_POLL + hub._POLL < 0.95
