"""Shell completion in the shells themselves: ids, groups, keys and models as well as verbs."""

from __future__ import annotations

import os
import pty
import select
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import waitress

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.cli.main import main
from claude_relay.config import Settings
from claude_relay.core.keys import Scope
from tests.support.builders import a_submission
from tests.support.eventually import eventually
from tests.support.needs import needs

ROOT = Path(__file__).parents[2]
KEY = "the-key-of-these-tests"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(store=f"sqlite:///{tmp_path}/relay.db", api_secret_key=KEY, rate_limit=None, rate_limit_submit=None)


@pytest.fixture
def env(tmp_path: Path, settings: Settings) -> dict[str, str]:
    """The environment of a shell that finds the command, and a store with jobs in it."""
    with wiring.open_relay(settings, create=True) as relay:
        for request_id in ("invoice-1", "invoice-2", "a:colon"):
            relay.submit(a_submission(request_id, group="night"))
        relay.keys.add("make", frozenset({Scope.SUBMIT}))
    return {
        "PATH": f"{ROOT / 'bin'}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CLAUDE_RELAY_PYTHON": sys.executable,
        "LANG": "C.UTF-8",  # else fish cannot read a path with letters beyond ASCII
        "TERM": "dumb",
        "RELAY_STORE": settings.store,
    }


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> Path:
    """The file that `make install` puts where the shell looks."""
    assert main(["completion", shell]) == 0
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(capsys.readouterr().out)
    return folder / name


@pytest.fixture
def bash(env: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    needs("bash")
    file = script("bash", tmp_path / "bash", capsys, "claude-relay")

    def complete(*words: str, **more: str) -> list[str]:
        code = f"""source {file}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
                   _claude_relay_completion claude-relay; printf '%s\\n' "${{COMPREPLY[@]}}" """
        done = subprocess.run(
            ["bash", "-c", code, "bash", "claude-relay", *words],
            env={**env, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.stderr == ""
        return done.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (("sta",), ["status"]),
        (("status", "inv"), ["invoice-1", "invoice-2"]),
        (("status", "invoice-1", "invoice-2", "invoice-"), ["invoice-1", "invoice-2"]),
        (("why", "nobody"), []),
        (("why", "a"), []),  # bash would take an id apart at its colon
        (("resume", ""), ["night"]),
        (("list", "--group", ""), ["night"]),
        (("list", "--status", "f"), ["failed"]),
        (("submit", "-m", "sm"), ["smart"]),
        (("keys", "revoke", ""), ["make"]),
        (("config", "i"), ["init"]),
    ],
)
def test_bash(bash, typed, offered):
    assert bash(*typed) == offered


def test_without_a_prefix_the_newest_come_first(bash):
    assert bash("result", "") == ["invoice-2", "invoice-1"]


def test_a_missing_store_and_wrong_settings_offer_nothing(bash, tmp_path):
    assert bash("status", "inv", RELAY_STORE=f"sqlite:///{tmp_path}/no.db") == []
    assert bash("status", "inv", RELAY_LEASSE="1s") == []
    assert not (tmp_path / "no.db").exists()


def test_a_remote_relay_is_queried(bash, settings):
    with wiring.open_relay(settings) as relay:
        server = waitress.create_server(
            make_app(relay, settings, intake=wiring.intake_context(settings, relay)),
            host="127.0.0.1",
            port=0,
            threads=2,
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        remote = {
            "RELAY_URL": f"http://127.0.0.1:{server.effective_port}",
            "RELAY_API_KEY": KEY,
            "RELAY_STORE": "/nowhere/relay.db",
        }
        try:
            # A tab waits for a second at most: on a busy machine it may have nothing to offer.
            eventually(lambda: bash("status", "inv", **remote) == ["invoice-2", "invoice-1"])
            eventually(lambda: bash("pause", "", **remote) == ["night"])
            assert bash("status", "inv", **{**remote, "RELAY_API_KEY": "wrong"}) == []
        finally:
            server.close()
            thread.join(60)


def test_a_job_in_a_batch_is_shown_with_its_public_status(env, tmp_path):
    """The states of the store are no words of the contract."""
    with sqlite3.connect(tmp_path / "relay.db") as connection:
        connection.execute("UPDATE jobs SET state = 'batched' WHERE request_id = 'invoice-1'")
    connection.close()
    request = {"_CLAUDE_RELAY_COMPLETE": "zsh_complete", "COMP_WORDS": "claude-relay status inv", "COMP_CWORD": "2"}
    done = subprocess.run(
        ["claude-relay"], env={**env, **request}, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )

    assert done.stdout.split() == ["plain", "invoice-1", "processing", "plain", "invoice-2", "pending"]


def test_fish_shows_the_status_of_each_job(env, tmp_path, capsys):
    needs("fish")
    file = script("fish", tmp_path / "fish", capsys, "claude-relay.fish")

    def complete(line: str) -> list[str]:
        command = ["fish", "--no-config", "-c", f"source {file}; complete -C '{line}'"]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        return done.stdout.splitlines()

    assert complete("claude-relay status inv") == ["invoice-1\tpending", "invoice-2\tpending"]
    assert complete("claude-relay pause n") == ["night"]


def test_zsh_completes_what_is_typed(env, tmp_path, capsys):
    """Through a terminal: zsh completes nowhere else."""
    needs("zsh")
    file = script("zsh", tmp_path / "zsh", capsys, "_claude-relay")
    with Terminal(["zsh", "-f", "-i"], env={**env, "TERM": "xterm"}, cwd=tmp_path) as zsh:
        zsh.type(f"fpath=({file.parent} $fpath); autoload -Uz compinit; compinit -D -u; PS1='re''ady> '\n")
        zsh.shows("ready> ")
        zsh.type("claude-relay pause ni\t")
        zsh.shows("pause night")
        zsh.type("\x15claude-relay why in\t")
        zsh.shows("voice-")
        zsh.type("\t")
        zsh.shows("-- pending")


class Terminal:
    """A program that runs on a pseudo-terminal."""

    def __init__(self, command: list[str], *, env: dict[str, str], cwd: Path) -> None:
        self._hand, end = pty.openpty()
        self._process = subprocess.Popen(command, env=env, cwd=cwd, stdin=end, stdout=end, stderr=end, process_group=0)
        os.close(end)
        self._seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(60)
        os.close(self._hand)

    def type(self, text: str) -> None:
        self._seen = ""
        os.write(self._hand, text.encode())

    def shows(self, text: str, *, within: float = 60.0) -> None:
        give_up = time.monotonic() + within
        while text not in self._seen:
            ready, _, _ = select.select([self._hand], [], [], max(0.0, give_up - time.monotonic()))
            assert ready, f"{text!r} did not appear in {self._seen!r}"
            self._seen += os.read(self._hand, 65536).decode(errors="replace")


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
