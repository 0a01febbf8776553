"""Replacement of a secret in a file: only that line, and atomically."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_relay.config.secret_file import SettingLocation, find_location, write_setting
from claude_relay.errors import ConfigError

NAME = "RELAY_WEBHOOK_SECRET"


@pytest.mark.parametrize(
    "before, after",
    [
        (f"A=1\n{NAME}=old\nB=2\n", f"A=1\n{NAME}=new\nB=2\n"),
        (
            f"# why\n  export {NAME} = 'old, older'   # rotated in May\n",
            f"# why\n  export {NAME} = new   # rotated in May\n",
        ),
        (f'{NAME}="old"', f"{NAME}=new"),
        (f"#{NAME}=\nA=1\n", f"{NAME}=new\nA=1\n"),
        ("A=1", f"A=1\n{NAME}=new\n"),
        ("", f"{NAME}=new\n"),
        (f"{NAME}_FILE=x\nMY_{NAME}=y\n", f"{NAME}_FILE=x\nMY_{NAME}=y\n{NAME}=new\n"),
        (f"A=1\r\n{NAME}=old # w\r\nB=2\r\n", f"A=1\r\n{NAME}=new # w\r\nB=2\r\n"),
    ],
)
def test_only_the_one_setting_is_changed(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / ".env"
    file.write_bytes(before.encode())
    file.chmod(0o640)
    write_setting(SettingLocation(path=file, name=NAME), "new")

    assert file.read_bytes().decode() == after
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_file_of_its_own_is_made_readable_to_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / NAME
    write_setting(SettingLocation(path=file), "new,old")

    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new,old\n", 0o600)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("old\n")
    (tmp_path / "link").symlink_to(real)
    write_setting(SettingLocation(path=tmp_path / "link"), "new")

    assert (tmp_path / "link").is_symlink() and real.read_text() == "new\n"


def test_an_unwritable_file_is_unchanged_and_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_setting(SettingLocation(path=tmp_path / "missing" / "file"), "new")


def place(tmp_path: Path, **environ: str) -> SettingLocation:
    return find_location(NAME, environ, dotenv=tmp_path / ".env", etc=tmp_path / "etc" / "claude-relay.env")


def test_the_location_is_the_one_that_the_daemons_read(tmp_path: Path) -> None:
    """Each takes precedence over the following; a new secret goes to the first existing file."""
    etc, dotenv = tmp_path / "etc", tmp_path / ".env"
    (etc / "credentials").mkdir(parents=True)
    with pytest.raises(ConfigError, match="environment"):
        place(tmp_path, RELAY_WEBHOOK_SECRET="old")
    assert place(tmp_path).path == etc / "credentials" / NAME

    (etc / "claude-relay.env").write_text(f"{NAME}=in-etc\n")
    assert place(tmp_path) == SettingLocation(path=etc / "claude-relay.env", name=NAME, text="in-etc")
    (etc / "credentials" / NAME).write_text("credential\n")
    assert place(tmp_path) == SettingLocation(path=etc / "credentials" / NAME, text="credential")
    dotenv.write_text(f"{NAME}=here\n")
    assert place(tmp_path) == SettingLocation(path=dotenv, name=NAME, text="here")
    (tmp_path / "pointed").write_text("pointed")
    dotenv.write_text(f"{NAME}_FILE={tmp_path / 'pointed'}\n")
    assert place(tmp_path) == SettingLocation(path=tmp_path / "pointed", text="pointed")


def test_without_any_file_the_error_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="config init"):
        place(tmp_path)
