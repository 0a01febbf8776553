"""Copies of a unit's credentials, from which the next generation reads them after a reload."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from claude_relay.systemd import credentials

ME = (os.getuid(), os.getgid())


def test_credentials_are_copied_for_the_user_of_the_unit_alone(tmp_path: Path) -> None:
    """CASES A8: plain and encrypted ones; a file that is missing means none, and a leftover is removed."""
    source, folder = tmp_path / "source", tmp_path / "run" / "main"
    source.mkdir()
    (source / "A").write_text("first")
    listed = [["A", str(source / "A")], ["B", str(source / "B")]]
    unit = {"LoadCredential": listed, "LoadCredentialEncrypted": []}
    credentials.copy(unit, folder, owner=ME)
    (folder / "C").write_text("left over")
    (source / "A").write_text("second")
    credentials.copy(unit, folder, owner=ME)

    assert {path.name: path.read_text() for path in folder.iterdir()} == {"A": "second", "B": "-"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o400}


def test_the_credentials_of_a_unit_are_those_of_its_drop_ins() -> None:
    commands = []

    def busctl(command: Sequence[str]) -> bytes:
        commands.append(" ".join(command))
        return b'{"type":"s","data":"me"}\n{"type":"a(ss)","data":[["A","/etc/a"]]}\n{"type":"a(ss)","data":[]}\n'

    unit = credentials.show("worker@2.service", run=busctl)

    assert unit == {"User": "me", "LoadCredential": [["A", "/etc/a"]], "LoadCredentialEncrypted": []}
    assert "/org/freedesktop/systemd1/unit/worker_402_2eservice" in commands[0]


@pytest.mark.parametrize("copied", [True, False])
def test_the_next_generation_reads_the_copies_if_there_are_any(tmp_path: Path, copied: bool) -> None:
    folder = tmp_path / "main"
    if copied:
        folder.mkdir()
    environ = {"CREDENTIALS_DIRECTORY": "/run/credentials/x", credentials.FOLDER: str(folder)}

    expected = str(folder) if copied else "/run/credentials/x"
    assert credentials.environment(environ)["CREDENTIALS_DIRECTORY"] == expected
    assert credentials.environment({"A": "b"}) == {"A": "b"}
