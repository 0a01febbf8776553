"""Checks of the machine: clock, disk and the folder for logs."""

from __future__ import annotations

import shutil

import pytest

from claude_relay.cli.doctor import host
from claude_relay.cli.doctor.system import System
from tests.support.doctor import NOW


@pytest.mark.parametrize(
    ("now", "output", "result", "fix"),
    [
        (86_400.0, "", "fail", "timedatectl set-ntp true"),
        (NOW, "NTP=no\nNTPSynchronized=no\n", "warn", "timedatectl set-ntp true"),
        (NOW, "NTP=yes\nNTPSynchronized=no\n", "warn", "timedatectl timesync-status"),
        (NOW, "NTP=yes\nNTPSynchronized=yes\n", "ok", ""),
        (NOW, "", "ok", ""),
    ],
)
def test_the_clock(tmp_path, now, output, result, fix):
    system = System(run=lambda command: output or None, now=lambda: now)

    finding = host.clock(system)

    assert finding.result == result and finding.fix.startswith(fix)


@pytest.mark.parametrize(("share", "result"), [(2.0, "fail"), (0.9, "warn"), (0.01, "ok")])
def test_the_disk(tmp_path, share, result):
    free = shutil.disk_usage(tmp_path).free
    finding = host.disk(tmp_path / "no" / "relay.db", int(free * share))

    assert finding.result == result and bool(finding.fix) == (result != "ok")


def test_a_missing_folder_for_logs(tmp_path):
    assert host.log_dir(tmp_path).result == "ok"
    assert "install -d" in host.log_dir(tmp_path / "no").fix
