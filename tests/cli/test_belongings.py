"""Whoever runs a verb, the daemons can still open what it leaves behind: their user owns the store, whoever it was."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.cli.main import main
from tests.support.needs import lacks

NOBODY = 65534


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store's folder as `make install` lays it: of the daemons' user, and of a group that may write."""
    if os.geteuid() != 0:
        lacks("only root can hand a folder to another user")
    above = Path(tempfile.mkdtemp())  # pytest's own are root's alone
    above.chmod(0o711)
    folder = above / "state"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o2770)
    monkeypatch.chdir(above)
    monkeypatch.setenv("RELAY_STORE", str(folder / "relay.db"))
    yield folder / "relay.db"
    shutil.rmtree(above)


def least(path: Path) -> int:
    """The group writes everything but the key, which never changes."""
    return 0o040 if path.suffix == ".key" else 0o020


def strangers(folder: Path) -> list[str]:
    """What the daemons could not write."""
    return [
        f"{path.name} {stat.filemode(told.st_mode)} {told.st_uid}:{told.st_gid}"
        for path in folder.rglob("*")
        if (told := path.lstat()) and ((told.st_uid, told.st_gid) != (NOBODY, NOBODY) or not told.st_mode & least(path))
    ]


def test_what_root_makes_belongs_to_the_store_s_user(store):
    assert main(["migrate"]) == 0
    body = {"prompt": "x", "webhookUrl": "https://hook.example.com/", "webhookHeaders": {"x-make-apikey": "k"}}
    (store.parents[1] / "body.json").write_text(json.dumps(body))
    assert main(["submit", "--from-json", str(store.parents[1] / "body.json")]) == 0
    assert store.with_name("relay.db.key").exists()
    assert main(["status"]) == 0

    assert strangers(store.parent) == []
    assert os.geteuid() == 0


def test_what_root_puts_back_belongs_to_the_store_s_user(store, tmp_path):
    assert main(["migrate"]) == 0
    assert main(["backup", str(tmp_path / "copy.db")]) == 0
    assert main(["restore", "--yes", str(tmp_path / "copy.db")]) == 0

    assert strangers(store.parent) == []


def test_nobody_to_ask_is_wrong_usage_and_nothing_is_put_back(store, tmp_path, capsys):
    assert main(["migrate"]) == 0
    assert main(["backup", str(tmp_path / "copy.db")]) == 0
    before = store.stat().st_ino

    assert main(["restore", str(tmp_path / "copy.db")]) == 2
    assert "--yes" in capsys.readouterr().err
    assert store.stat().st_ino == before


def test_a_store_of_a_newer_version_is_told_before_anything_is_touched(tmp_path, monkeypatch, capsys):
    import sqlite3

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_STORE", str(tmp_path / "relay.db"))
    assert main(["migrate", "--check"]) == 0
    assert not (tmp_path / "relay.db").exists()
    assert main(["migrate"]) == 0
    assert main(["migrate", "--check"]) == 0
    with sqlite3.connect(tmp_path / "relay.db") as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    before = (tmp_path / "relay.db").read_bytes()

    assert main(["migrate", "--check"]) == 78
    assert "newer version" in capsys.readouterr().err
    assert (tmp_path / "relay.db").read_bytes() == before
