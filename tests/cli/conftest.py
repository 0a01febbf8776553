"""The command line on a store, and over HTTP on the same store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.cli.main import main
from claude_relay.config import Settings
from claude_relay.services import Relay
from tests.support.live_api import serving

KEY = "the-key-of-these-tests"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the store, set in RELAY_STORE."""
    path = tmp_path / "store" / "relay.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_STORE", str(path))
    monkeypatch.setenv("NO_COLOR", "1")
    return path


@pytest.fixture
def relay(store: Path) -> Iterator[Relay]:
    with wiring.open_relay(Settings(store=f"sqlite:///{store}"), create=True) as relay:
        yield relay


@pytest.fixture(params=["local", "remote"])
def where(request: pytest.FixtureRequest, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Runs a test twice: on the store of this machine, and over HTTP."""
    if request.param == "local":
        yield "local"
        return
    settings = Settings(api_secret_key=KEY, rate_limit=None, rate_limit_submit=None, port=0)
    app = make_app(relay, settings, intake=wiring.intake_context(settings, relay))
    with serving(app, settings) as (host, port):
        monkeypatch.setenv("RELAY_URL", f"http://{host}:{port}")
        monkeypatch.setenv("RELAY_API_KEY", KEY)
        yield "remote"


@pytest.fixture
def run(store: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run one command: its exit code, stdout and stderr."""

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(args)
        out, err = capsys.readouterr()
        return code, out, err

    return run
