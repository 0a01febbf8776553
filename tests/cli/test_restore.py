"""Consequences of a restore that no check of the file shows."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from claude_relay.cli.doctor.system import STOP
from claude_relay.cli.main import main


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state" / "relay.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_STORE", str(path))
    assert main(["migrate"]) == 0
    return path


def restore_faults(capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    main(["doctor", "--json"])
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [f"{item['found']} {item['mend']}" for item in findings if item["check"] == "restore"]


def test_keys_and_headers_that_a_restore_brings_back_are_named(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CASES A9. A revoked key that is valid again, and jobs whose key file is missing: at restore and by `doctor`."""
    body = {"prompt": "x", "webhookUrl": "https://hook.example.com/", "webhookHeaders": {"x-make-apikey": "k"}}
    (tmp_path / "body.json").write_text(json.dumps(body))
    for name in ("old", "kept"):
        assert main(["keys", "add", name]) == 0
    assert main(["submit", "--from-json", str(tmp_path / "body.json")]) == 0
    assert main(["backup", str(tmp_path / "copy.db")]) == 0
    assert main(["keys", "revoke", "old"]) == 0
    assert restore_faults(capsys) == []
    key = store.with_name("relay.db.key")
    key.rename(tmp_path / "kept.key")

    assert main(["restore", "--yes", str(tmp_path / "copy.db")]) == 0
    told = capsys.readouterr().err
    assert main(["submit", "--from-json", str(tmp_path / "body.json")]) == 0  # which makes a new key
    without_key = restore_faults(capsys)
    (tmp_path / "kept.key").replace(key)
    assert main(["keys", "revoke", "old"]) == 0
    after = restore_faults(capsys)

    assert (
        "1 API keys" in told and "keys revoke old" in told and "kept" not in told.split("1 API keys")[1].split(".")[0]
    )
    assert "1 jobs have webhookHeaders" in told and str(key) in told
    assert [fault[:1] for fault in without_key] == ["1", "1"]
    assert "keys revoke old" in without_key[0] and str(key) in without_key[1]
    assert len(after) == 1 and after[0].startswith("1 jobs")  # the one that the other key has encrypted


def test_the_refusal_names_a_stop_that_waits(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CASES A7: a stop of the target alone returns while the worker still brings its calls to their end."""
    assert main(["backup", str(tmp_path / "copy.db")]) == 0
    lock = store.parent / "workers" / "w.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["restore", "--yes", str(tmp_path / "copy.db")]) == 9

    refusal = capsys.readouterr().err
    assert "still brings its calls to their end" in refusal and STOP in refusal
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "deploy.md").read_text()
    assert f"\n{STOP}\nclaude-relay restore" in page
