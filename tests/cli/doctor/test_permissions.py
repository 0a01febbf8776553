"""Checks of file permissions: settings, credentials and the store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_relay.cli.doctor import permissions
from claude_relay.config import Settings
from tests.support.doctor import faults
from tests.support.needs import lacks


@pytest.fixture(autouse=True)
def credentials_of_this_user(monkeypatch):
    """An ordinary user who runs the tests cannot make files of root's."""
    monkeypatch.setattr(permissions, "_CREDENTIALS_OWNER", os.geteuid())


def _give_to_another_user(path: Path) -> None:
    if os.geteuid() != 0:
        lacks("only root can give a file to another user")
    os.chown(path, 65534, 0)


def test_a_server_without_faults(server):
    assert faults(permissions.check(None, server)) == []


@pytest.mark.parametrize(
    ("damage", "detail", "fix"),
    [
        (lambda path: path.unlink(), "is missing", "install -m 600"),
        (lambda path: path.write_text("\n"), "is empty", "install -m 600"),
        (lambda path: path.write_text("sk…"), "a placeholder", "install -m 600"),
        (lambda path: path.write_text("export ANTHROPIC_API_KEY=sk-ant-1"), "as a setting", "install -m 600"),
        (lambda path: path.write_bytes(b"sk-ant-0123456789\r\n"), "carriage return", "install -m 600"),
        (lambda path: path.chmod(0o644), "can be read by other users", "chmod 600"),
        (_give_to_another_user, "can be read by other users", "chown root:"),
        (lambda path: path.rename(path.with_name("ANTHROPIC_KEY")), "is no secret", "ANTHROPIC_API_KEY"),
    ],
)
def test_each_fault_of_a_credential(server, damage, detail, fix):
    damage(server.credentials / "ANTHROPIC_API_KEY")

    findings = faults(permissions.check(None, server))

    assert any(detail in fault.detail and fix in fault.fix for fault in findings)


def test_the_sandbox_needs_no_anthropic_key(server, tmp_path):
    (server.credentials / "ANTHROPIC_API_KEY").unlink()

    settings = Settings(provider="sandbox", store=f"sqlite:///{tmp_path}/relay.db")

    assert faults(permissions.check(settings, server)) == []


def test_an_encrypted_credential_is_accepted(server):
    plain = server.credentials / "ANTHROPIC_API_KEY"
    plain.rename(plain.with_name("ANTHROPIC_API_KEY.cred"))

    assert faults(permissions.check(None, server)) == []
    assert any("ANTHROPIC_API_KEY (encrypted)" in finding.detail for finding in permissions.check(None, server))


def test_a_missing_credentials_folder(server):
    for path in server.credentials.iterdir():
        path.unlink()
    server.credentials.rmdir()

    [fault] = faults(permissions.check(None, server))

    assert fault.fix == "claude-relay config init --system"


def test_a_settings_file_with_secrets_that_everyone_can_read(server):
    server.dotenv.write_text("API_SECRET_KEY=x\n#RELAY_WEBHOOK_SECRET=y\n")
    server.dotenv.chmod(0o644)
    server.env_file.write_text("PORT=1\n")
    server.env_file.chmod(0o644)

    [fault] = faults(permissions.check(None, server))

    assert "API_SECRET_KEY" in fault.detail and "RELAY_WEBHOOK_SECRET" not in fault.detail
    assert fault.fix == f"chmod 600 {server.dotenv}"


def test_the_command_moves_a_secret_to_the_credentials(server):
    """The command runs as printed, without the restart."""
    server.env_file.write_text("PORT=3000\nANTHROPIC_API_KEY=sk-ant-new\n")
    server.env_file.chmod(0o640)

    [fault] = faults(permissions.check(None, server))
    os.system(fault.fix.split(" && systemctl")[0])

    assert server.env_file.read_text() == "PORT=3000\n"
    assert (server.credentials / "ANTHROPIC_API_KEY").read_text() == "sk-ant-new\n"
    assert faults(permissions.check(None, server)) == []


def test_a_store_that_everyone_can_read(server, tmp_path):
    path = tmp_path / "relay.db"
    path.touch(0o644)
    path.chmod(0o644)

    [fault] = faults(permissions.check(Settings(store=f"sqlite:///{path}"), server))

    assert fault.fix == f"chmod 640 {path}"
