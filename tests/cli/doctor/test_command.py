"""`claude-relay doctor`: exit codes, JSON, and colours on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from claude_relay.cli.doctor.finding import Finding
from claude_relay.cli.main import main
from claude_relay.sandbox import Sandbox

ROOT = Path(__file__).parents[3]


@pytest.fixture
def workstation(tmp_path, monkeypatch):
    """A machine without the settings of a server, and with its own store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_STORE", str(tmp_path / "store" / "relay.db"))
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def doctor(capsys, *args: str) -> tuple[int, list[dict[str, str]]]:
    capsys.readouterr()
    code = main(["doctor", "--json", *args])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_wrong_settings_are_78_and_the_other_checks_run(workstation, capsys, monkeypatch):
    monkeypatch.setenv("RELAY_LEASSE", "1s")

    code, findings = doctor(capsys)

    assert code == 78
    assert {"settings", "clock"} <= {item["check"] for item in findings}
    assert all(item["mend"] for item in findings if item["result"] != "ok")


def test_anthropic_is_called_only_on_request(workstation, capsys, monkeypatch):
    with Sandbox() as claude:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-nothing")
        _, without = doctor(capsys)
        _, requested = doctor(capsys, "--upstream")

    assert "claude" not in {item["check"] for item in without}
    assert [item["result"] for item in requested if item["check"] == "claude"] == ["ok"]


@pytest.mark.parametrize(("extra", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_on_a_terminal_a_fault_is_red_with_its_fix_below(workstation, extra, coloured):
    main_end, other = pty.openpty()
    env = {"PATH": os.environ["PATH"], "HOME": str(workstation), "TERM": "xterm-256color", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-m", "claude_relay", "doctor"],
        env={**env, "PYTHONPATH": str(ROOT), "RELAY_STORE": str(workstation / "relay.db"), **extra},
        cwd=workstation,
        stdin=subprocess.DEVNULL,
        stdout=other,
        stderr=other,
    )
    os.close(other)
    seen = b""
    with contextlib.suppress(OSError):
        while part := os.read(main_end, 65536):
            seen += part

    assert process.wait(60) == 1
    assert (b"\x1b[1;31mfail" in seen) == coloured and (b"\x1b" in seen) == coloured
    assert "→ claude-relay config init\r\n" in seen.decode()
    assert b"[31m" not in seen.replace(b"\x1b[1;31m", b"")


def test_the_keys_of_the_json_are_those_of_the_interface():
    assert Finding("store", "fail", "detail", "fix").as_json() == {
        "check": "store",
        "result": "fail",
        "found": "detail",
        "mend": "fix",
    }
