"""The container of a process: its daemons by process 1, and whether the store is on a volume."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_relay.cli.doctor import permissions, settings
from claude_relay.cli.doctor.system import System
from claude_relay.config import Settings
from claude_relay.container import daemons, discarded_with_container
from tests.support.doctor import KEY, faults

_OVERLAY = "812 790 0:98 / / ro,relatime master:1 - overlay overlay rw,lowerdir=/a:/b\n"
_VOLUME = "815 812 254:0 /volumes/jobs /var/lib/claude-relay rw - ext4 /dev/sda1 rw\n"
_MEMORY = "815 812 0:33 / /var/lib/claude-relay rw - tmpfs tmpfs rw\n"
_STORE = Path("/var/lib/claude-relay")
_UNNAMED = f"815 812 254:0 /docker/volumes/{'0a' * 32}/_data /var/lib/claude-relay rw - ext4 /dev/sda1 rw\n"
_OF_A_POD = _VOLUME.replace("/volumes/jobs", "/pods/5f-1/volumes/kubernetes.io~empty-dir/jobs")


def proc_of(folder: Path, command: str, mounts: str = _OVERLAY) -> Path:
    for name, content in (("1/cmdline", command.replace(" ", "\0") + "\0"), ("self/mountinfo", mounts)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    "command, expected",
    [
        ("tini -- claude-relay serve", {"api"}),
        ("tini -- claude-relay worker --name one", {"worker"}),
        ("docker-init -- tini -- /opt/claude-relay/bin/claude-relay serve --with-worker", {"api", "worker"}),
        ("/sbin/init splash", None),
    ],
)
def test_process_1_says_which_daemons_have_their_settings_here(tmp_path, command, expected):
    """CASES C6: `docker compose exec api claude-relay doctor` sees the settings of the API alone."""
    assert daemons(proc_of(tmp_path, command)) == expected
    assert daemons(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "command, mounts, expected",
    [
        ("tini -- claude-relay serve", _OVERLAY, True),
        ("tini -- claude-relay serve", _OVERLAY + _VOLUME, False),
        ("tini -- claude-relay serve", _OVERLAY + _MEMORY, True),
        ("tini -- claude-relay serve", _OVERLAY + _MEMORY.replace("tmpfs", "ramfs"), True),
        ("tini -- claude-relay serve", _OVERLAY + _UNNAMED, True),
        ("tini -- claude-relay serve", _OVERLAY + _OF_A_POD, True),
        ("/sbin/init", _OVERLAY, False),
    ],
)
def test_a_store_without_a_volume_is_deleted_with_its_container(tmp_path, command, mounts, expected):
    """CASES C1, C13."""
    assert discarded_with_container(_STORE, proc_of(tmp_path, command, mounts)) is expected


def test_a_volume_at_a_path_of_any_characters_is_seen(tmp_path):
    """CASES C1, a sibling: mountinfo has spaces in octal, and everything else as it is."""
    mounts = _OVERLAY + _VOLUME.replace("/var/lib/claude-relay", r"/srv/jobb\040æøå")
    proc = proc_of(tmp_path, "tini -- claude-relay serve", mounts)

    assert discarded_with_container(Path("/srv/jobb æøå/claude-relay"), proc) is False
    assert discarded_with_container(Path("/srv/jobb"), proc) is True


def test_doctor_in_the_container_of_the_api_asks_for_no_setting_of_the_worker(tmp_path):
    """CASES C6: neither the Anthropic key nor the signing secret; advice is for the host."""
    given = Settings(api_secret_key=KEY, host="0.0.0.0", public_url="https://relay.example.com")
    here = System(dotenv=tmp_path / ".env", etc=tmp_path, booted=tmp_path / "no", container=frozenset({"api"}))
    found = faults(settings.check(given, here, environ={}))

    assert [(item.check, item.result) for item in found] == [("proxy", "warn")]
    assert "echo 'RELAY_TRUSTED_PROXY=172.16.0.0/12' >> relay.env && docker compose up --detach" in found[0].fix


def test_doctor_in_the_container_of_the_worker_asks_for_no_key_of_callers(tmp_path):
    """CASES C6: a missing Anthropic key is a fault there, and belongs into the file that compose reads."""
    here = System(dotenv=tmp_path / ".env", etc=tmp_path, booted=tmp_path / "no", container=frozenset({"worker"}))
    found = faults(settings.check(Settings(webhook_secret=("whsec_x",)), here, environ={}))
    by_check = {item.check: item for item in found}

    assert "api key" not in by_check
    assert by_check["upstream"].result == "fail" and "ANTHROPIC_API_KEY=sk-ant-…' >> .env" in by_check["upstream"].fix


def test_any_peer_may_be_trusted_on_railway(tmp_path):
    """CASES C11: only Railway's proxy reaches the port, and the page prescribes `*`."""
    given = Settings(trusted_proxy="*", host="0.0.0.0")
    here = System(dotenv=tmp_path / ".env", etc=tmp_path, booted=tmp_path / "no")
    found = settings.check(given, here, environ={"RAILWAY_ENVIRONMENT": "production"})

    assert [item.result for item in found if item.check == "proxy"] == ["ok"]


def test_files_of_an_earlier_user_are_no_fault_in_a_container(tmp_path):
    """CASES C4: they are of any uid; only files that this user cannot use are a fault."""
    for name in ("relay.db", "ready.db"):
        (tmp_path / name).touch(mode=0o660)
    if os.geteuid() == 0:
        os.chown(tmp_path / "relay.db", 12345, 0)
    here = System(dotenv=tmp_path / ".env", etc=tmp_path, booted=tmp_path / "no", container=frozenset({"api"}))

    assert list(permissions.check(Settings(store=f"sqlite:///{tmp_path}/relay.db"), here)) == []
