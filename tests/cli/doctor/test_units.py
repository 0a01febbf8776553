"""Checks of the systemd units."""

from __future__ import annotations

import pytest

from claude_relay.cli.doctor import units
from claude_relay.cli.doctor.system import DAEMONS
from claude_relay.config import Settings
from tests.support.doctor import a_system, faults

WELL = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}


@pytest.mark.parametrize(
    ("name", "unit", "detail", "fix"),
    [
        ("claude-relay.target", {"UnitFileState": "disabled"}, "at boot", "systemctl enable claude-relay.target"),
        ("claude-relay-api.service", {"LoadState": "masked"}, "masked", "systemctl unmask"),
        ("claude-relay-api.service", {"LoadState": "not-found"}, "not installed", "sudo make install"),
        ("claude-relay-api.socket", {"ActiveState": "inactive"}, "not running", "systemctl start"),
        ("claude-relay-worker.service", {"NeedDaemonReload": "yes"}, "has changed", "systemctl daemon-reload"),
        ("claude-relay-worker.service", {"NRestarts": "17"}, "17 times", "journalctl -u"),
        (
            "claude-relay-worker.service",
            {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78"},
            "settings, secrets or store",
            "systemctl reset-failed",
        ),
        (
            "claude-relay-worker.service",
            {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "243"},
            "credentials",
            "systemctl start",
        ),
        ("claude-relay-api.socket", {"ActiveState": "failed", "Result": "resources"}, "cannot listen", "ss -ltnp"),
        (
            "claude-relay-api.socket",
            {"ActiveState": "failed", "Result": "resources", "DropInPaths": "/etc/x.conf"},
            "/etc/x.conf names one that is not this machine's",
            "correct ListenStream=",
        ),
        ("claude-relay-api.socket", {"LoadState": "bad-setting"}, "no address", "takes a port"),
        (
            "claude-relay-worker.service",
            {"ActiveState": "failed", "Result": "watchdog", "ExecMainStatus": "6"},
            "hung",
            "journalctl -u",
        ),
    ],
)
def test_each_fault_of_a_unit(name, unit, detail, fix):
    [fault] = faults(units.unit_faults(name, {**WELL, **unit}))

    assert name in fault.detail and detail in fault.detail and fix in fault.fix


def test_units_without_faults(server, tmp_path):
    blocks = ["\n".join(f"{key}={value}" for key, value in {"Id": name, **WELL}.items()) for name in units.UNITS]
    system = a_system(tmp_path, {"systemctl": "\n\n".join(blocks) + "\n"})

    [finding] = units.check(system)

    assert finding.result == "ok"


def test_no_finding_without_systemd(tmp_path):
    assert list(units.check(a_system(tmp_path))) == []


def test_a_server_without_the_units(tmp_path):
    (tmp_path / "booted").mkdir()

    [fault] = faults(units.check(a_system(tmp_path)))

    assert "make install" in fault.fix


def shown(**changed: dict[str, str]) -> str:
    """The output of `systemctl show` for all units, with these differences."""
    blocks = []
    for name in dict.fromkeys((*units.UNITS, *DAEMONS)):
        well = {"Id": name, **WELL, "User": "claude-relay", "Environment": "RELAY_ENV=production"}
        own = changed.get(name.removeprefix("claude-relay-").partition(".service")[0], {})
        blocks.append("\n".join(f"{key}={value}" for key, value in {**well, **own}.items()))
    return "\n\n".join(blocks)


@pytest.mark.parametrize(
    ("unit", "words", "fix"),
    [
        ({"User": "www-data", "DropInPaths": "/etc/x.conf"}, ("www-data", "claude-relay", "/etc/x.conf"), "User="),
        (
            {"Environment": 'RELAY_ENV=production "RELAY_STORE=sqlite:////srv/other.db"'},
            ("RELAY_STORE", "/srv/other.db", "here"),
            "RELAY_STORE",
        ),
        ({"LoadState": "bad-setting", "DropInPaths": "/etc/y.conf"}, ("bad-setting", "/etc/y.conf"), "ExecStart="),
        ({"Group": "nogroup", "DropInPaths": "/etc/z.conf"}, ("nogroup", "claude-relay", "/etc/z.conf"), "Group="),
        ({"PrivateNetwork": "yes", "DropInPaths": "/etc/n.conf"}, ("no network", "/etc/n.conf"), "PrivateNetwork="),
    ],
)
def test_a_drop_in_of_one_unit_is_named_with_its_difference(server, tmp_path, unit, words, fix):
    """CASES A11: another user, another store, or a second ExecStart=; not "make install" and not a restart."""
    machine = a_system(tmp_path, {"systemctl": shown(worker=unit)})
    (tmp_path / "units" / "claude-relay-worker.service").touch()
    found = [fault for fault in faults(units.check(machine, Settings())) if fault.result == "fail"]

    assert any(all(word in fault.detail for word in words) and fix in fault.fix for fault in found)
    assert not any("make install" in fault.fix for fault in found)


def test_the_units_as_installed_differ_in_nothing(server, tmp_path):
    machine = a_system(tmp_path, {"systemctl": shown()})

    assert faults(units.check(machine, Settings())) == []


@pytest.mark.parametrize(
    ("unit", "journal", "cause"),
    [
        ({"ActiveState": "activating", "SubState": "auto-restart", "ExecMainStatus": "69"}, "", "status 69"),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "DropInPaths": "/etc/x.conf"},
            "claude-relay: the store cannot be opened\nclaude-relay-worker.service: Failed with result 'exit-code'.\n",
            "the store cannot be opened",
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "DropInPaths": "/etc/x.conf"},
            "claude-relay-worker.service: Failed to run 'start-pre' task: No such file or directory\n",
            "start-pre",
        ),
        (
            {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "DropInPaths": "/etc/x.conf"},
            "claude-relay: RELAY_FOO in the environment is not a setting: remove it.\n",
            "RELAY_FOO",
        ),
    ],
    ids=["silent", "program", "systemd", "settings"],
)
def test_a_unit_that_fails_at_each_start_is_a_fault_with_its_last_words(tmp_path, unit, journal, cause):
    """Siblings of CASES A11: a drop-in takes away the store, an EnvironmentFile= is missing, a setting is unknown."""
    machine = a_system(tmp_path, {"systemctl": shown(worker=unit), "journalctl": journal})
    (tmp_path / "booted").mkdir()
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "claude-relay-worker.service").touch()
    [fault] = [each for each in faults(units.check(machine, Settings())) if each.result == "fail"]

    assert "claude-relay-worker.service" in fault.detail and cause in fault.detail
    assert unit.get("DropInPaths", "") in fault.detail and "systemctl" in fault.fix


def test_a_drop_in_that_make_install_has_laid_is_not_the_cause():
    """CASES A3: the server is away while the worker starts."""
    shipped = "/usr/local/lib/systemd/system/claude-relay-.service.d/postgres.conf"
    unit = {**WELL, "ActiveState": "activating", "SubState": "auto-restart", "DropInPaths": shipped}
    [fault] = faults(units.unit_faults("claude-relay-worker.service", unit))

    assert shipped not in fault.detail + fault.fix
