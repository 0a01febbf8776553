"""The doctor names every fault it can see, and no fault without its mend."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from claude_relay import wiring
from claude_relay.cli.doctor import host, network, permissions, settings, store, units
from claude_relay.cli.doctor.finding import Finding
from claude_relay.cli.doctor.system import System
from claude_relay.cli.main import main
from claude_relay.config import Settings, load
from claude_relay.errors import ConfigError
from claude_relay.sandbox import Sandbox
from tests.support.builders import a_completion, a_submission
from tests.support.needs import lacks

NOW = 1_795_500_000.0
KEY = "k" * 40
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> System:
    """A machine whose systemd knows the units, all of them well."""
    for folder in ("booted", "units", "etc/credentials"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "units" / "claude-relay-worker.service").touch()
    for name in ("ANTHROPIC_API_KEY", "API_SECRET_KEY"):
        secret = tmp_path / "etc" / "credentials" / name
        secret.touch(0o600)
        secret.write_text(KEY)
    return a_machine(tmp_path)


def a_machine(folder: Path, said: dict[str, str] | None = None) -> System:
    def run(command: Sequence[str]) -> str | None:
        return (said or {}).get(command[0])

    return System(
        etc=folder / "etc",
        dotenv=folder / ".env",
        booted=folder / "booted",
        unit_folders=(folder / "units",),
        environ=(),
        run=run,
        now=lambda: NOW,
    )


def faults(findings) -> list[Finding]:
    """Those that are not well; each must say how to mend it."""
    found = [one for one in findings if one.result != "ok"]
    assert all(one.mend for one in found)
    return found


class TestSettings:
    def test_a_relay_in_earnest_has_no_fault(self, server):
        given = Settings(
            anthropic_api_key=KEY,
            api_secret_key=KEY,
            webhook_secret=("whsec_x",),
            public_url="https://relay.example.com",
            trusted_proxy="127.0.0.1",
        )

        assert faults(settings.check(given, server, environ={})) == []

    @pytest.mark.parametrize(
        ("given", "check", "cure"),
        [
            ({"provider": "sandbox"}, "upstream", "RELAY_PROVIDER=anthropic"),
            ({"api_secret_key": "short"}, "api key", "API_SECRET_KEY=$(openssl rand"),
            ({"webhook_secret": ()}, "signing", "whsec_$(openssl rand"),
            ({"public_url": None}, "public url", "RELAY_PUBLIC_URL=https://"),
            ({"public_url": "http://r.example", "env": "production"}, "public url", "https://r.example"),
            ({"trusted_proxy": None}, "proxy", "RELAY_TRUSTED_PROXY=127.0.0.1"),
            ({"trusted_proxy": "*", "host": "0.0.0.0"}, "proxy", "RELAY_TRUSTED_PROXY="),
        ],
    )
    def test_each_fault_has_the_line_that_mends_it(self, server, given, check, cure):
        well = {
            "anthropic_api_key": KEY,
            "api_secret_key": KEY,
            "webhook_secret": ("whsec_x",),
            "public_url": "https://relay.example.com",
            "trusted_proxy": "127.0.0.1",
        }

        [fault] = faults(settings.check(Settings(**{**well, **given}), server, environ={}))

        assert fault.check == check
        assert cure in fault.fix and "systemctl" in fault.fix

    def test_what_the_environment_says_is_mended_there(self, tmp_path):
        """A line in .env would lose against it."""
        desk = replace(a_machine(tmp_path), environ={"RELAY_PUBLIC_URL": ""}, booted=tmp_path / "none")
        given = Settings(api_secret_key=KEY, public_url="http://r.example", env="production", provider="sandbox")

        [told] = [one for one in settings.check(given, desk, environ={}) if one.check == "public url"]

        assert "RELAY_PUBLIC_URL=https://r.example in the environment" in told.fix and ".env" not in told.fix

    def test_keys_are_missed_where_no_systemd_hands_them_out(self, tmp_path):
        found = {one.check: one for one in faults(settings.check(Settings(), a_machine(tmp_path), environ={}))}

        assert found["upstream"].result == found["api key"].result == "fail"
        assert found["api key"].fix == "claude-relay config init"

    def test_a_proxy_of_the_environment_is_told(self, server):
        found = faults(settings.check(Settings(), server, environ={"HTTPS_PROXY": "http://p:3128"}))

        assert "unset HTTPS_PROXY" in next(one.fix for one in found if one.check == "outgoing proxy")

    @pytest.mark.parametrize(
        ("line", "found", "mend"),
        [
            ("RELAY_LEASSE=1s", "RELAY_LEASSE", "sed -i 's/^RELAY_LEASSE=/RELAY_LEASE=/' {file} && claude-relay"),
            (
                "RELAY_XYZZY_PLUGH=1",
                "RELAY_XYZZY",
                "sed -i '/^RELAY_XYZZY_PLUGH=/d' {file} && claude-relay config check",
            ),
            ("PORT=x", "PORT from", "edit the line PORT= in {file}: write a whole number"),
            ("RELAY_PUBLIC_URL=ftp://x", "ftp://x", "edit the line RELAY_PUBLIC_URL= in {file}: write an address"),
        ],
    )
    def test_what_cannot_be_read_is_told_with_its_edit(self, server, line, found, mend):
        server.env_file.write_text(line + "\n")
        with pytest.raises(ConfigError) as caught:
            load({}, dotenv=None, etc=server.env_file)

        [fault] = faults(settings.faults(caught.value.problems, server))

        assert found in fault.detail
        assert fault.fix.startswith(mend.format(file=server.env_file))

    def test_the_command_mends_a_misspelt_name(self, server):
        server.env_file.write_text("PORT=3000\nRELAY_LEASSE=90s\n")
        with pytest.raises(ConfigError) as caught:
            load({}, dotenv=None, etc=server.env_file)
        [fault] = faults(settings.faults(caught.value.problems, server))
        os.system(fault.fix.split(" && ")[0])

        assert load({}, dotenv=None, etc=server.env_file).lease == 90.0

    def test_what_the_environment_says_wrongly_is_told_too(self, server):
        with pytest.raises(ConfigError) as caught:
            load({"PORT": "x", "RELAY_LEASSE": "1s"}, dotenv=None, etc=None)
        found = faults(settings.faults(caught.value.problems, server))

        assert {one.fix.split(",")[0] for one in found} == {
            "write a whole number from 0 to 65535",
            "unset RELAY_LEASSE",
        }


def _to_another_user(path: Path) -> None:
    if os.geteuid() != 0:
        lacks("only root can give a file to another user")
    os.chown(path, 65534, 0)


class TestRights:
    def test_a_server_as_it_should_be(self, server):
        assert faults(permissions.check(None, server)) == []

    @pytest.mark.parametrize(
        ("do", "found", "mend"),
        [
            (lambda path: path.unlink(), "is missing", "install -m 600"),
            (lambda path: path.write_text("\n"), "is empty", "install -m 600"),
            (lambda path: path.chmod(0o644), "can be read by others", "chmod 600"),
            (_to_another_user, "can be read by others", "chown root:"),
            (lambda path: path.rename(path.with_name("ANTHROPIC_KEY")), "is no secret", "ANTHROPIC_API_KEY"),
        ],
    )
    def test_what_is_wrong_with_a_credential(self, server, do, found, mend):
        do(server.credentials / "ANTHROPIC_API_KEY")

        told = faults(permissions.check(None, server))

        assert any(found in one.detail and mend in one.fix for one in told)

    def test_the_sandbox_needs_no_key_of_anthropics(self, server):
        (server.credentials / "ANTHROPIC_API_KEY").unlink()

        assert faults(permissions.check(Settings(provider="sandbox"), server)) == []

    def test_an_encrypted_credential_is_one_too(self, server):
        plain = server.credentials / "ANTHROPIC_API_KEY"
        plain.rename(plain.with_name("ANTHROPIC_API_KEY.cred"))

        assert faults(permissions.check(None, server)) == []
        assert any("ANTHROPIC_API_KEY (encrypted)" in one.detail for one in permissions.check(None, server))

    def test_no_credentials_at_all(self, server):
        for path in server.credentials.iterdir():
            path.unlink()
        server.credentials.rmdir()

        [fault] = faults(permissions.check(None, server))

        assert fault.fix == "claude-relay config init --system"

    def test_a_file_with_secrets_that_everyone_reads(self, server):
        server.dotenv.write_text("API_SECRET_KEY=x\n#RELAY_WEBHOOK_SECRET=y\n")
        server.dotenv.chmod(0o644)
        server.env_file.write_text("PORT=1\n")
        server.env_file.chmod(0o644)

        [fault] = faults(permissions.check(None, server))

        assert "API_SECRET_KEY" in fault.detail and "RELAY_WEBHOOK_SECRET" not in fault.detail
        assert fault.fix == f"chmod 600 {server.dotenv}"

    def test_the_command_moves_a_secret_out_of_the_settings(self, server):
        """It is run as it stands, but for the restart."""
        server.env_file.write_text("PORT=3000\nANTHROPIC_API_KEY=sk-ant-new\n")
        server.env_file.chmod(0o640)

        [fault] = faults(permissions.check(None, server))
        os.system(fault.fix.split(" && systemctl")[0])

        assert server.env_file.read_text() == "PORT=3000\n"
        assert (server.credentials / "ANTHROPIC_API_KEY").read_text() == "sk-ant-new\n"
        assert faults(permissions.check(None, server)) == []

    def test_a_store_that_everyone_reads(self, server, tmp_path):
        path = tmp_path / "relay.db"
        path.touch(0o644)
        path.chmod(0o644)

        [fault] = faults(permissions.check(Settings(store=f"sqlite:///{path}"), server))

        assert fault.fix == f"chmod 640 {path}"


class TestUnits:
    WELL = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}

    @pytest.mark.parametrize(
        ("name", "unit", "found", "mend"),
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
                "claude-relay-worker.service",
                {"ActiveState": "failed", "Result": "watchdog", "ExecMainStatus": "6"},
                "hung",
                "journalctl -u",
            ),
        ],
    )
    def test_a_unit_that_is_not_well(self, name, unit, found, mend):
        [fault] = faults(units.judge(name, {**self.WELL, **unit}))

        assert name in fault.detail and found in fault.detail and mend in fault.fix

    def test_all_up(self, server, tmp_path):
        blocks = [
            "\n".join(f"{key}={value}" for key, value in {"Id": name, **self.WELL}.items()) for name in units.UNITS
        ]
        machine = a_machine(tmp_path, {"systemctl": "\n\n".join(blocks) + "\n"})

        [finding] = units.check(machine)

        assert finding.result == "ok"

    def test_nothing_is_said_where_systemd_does_not_run(self, tmp_path):
        assert list(units.check(a_machine(tmp_path))) == []

    def test_a_server_without_the_units(self, tmp_path):
        (tmp_path / "booted").mkdir()

        [fault] = faults(units.check(a_machine(tmp_path)))

        assert "make install" in fault.fix


class TestHost:
    @pytest.mark.parametrize(
        ("now", "said", "result", "mend"),
        [
            (86_400.0, "", "fail", "timedatectl set-ntp true"),
            (NOW, "NTP=no\nNTPSynchronized=no\n", "warn", "timedatectl set-ntp true"),
            (NOW, "NTP=yes\nNTPSynchronized=no\n", "warn", "timedatectl timesync-status"),
            (NOW, "NTP=yes\nNTPSynchronized=yes\n", "ok", ""),
            (NOW, "", "ok", ""),
        ],
    )
    def test_the_clock(self, tmp_path, now, said, result, mend):
        machine = System(run=lambda command: said or None, now=lambda: now)

        finding = host.clock(machine)

        assert finding.result == result and finding.fix.startswith(mend)

    @pytest.mark.parametrize(("share", "result"), [(2.0, "fail"), (0.9, "warn"), (0.01, "ok")])
    def test_the_disk(self, tmp_path, share, result):
        import shutil

        free = shutil.disk_usage(tmp_path).free
        finding = host.disk(tmp_path / "no" / "relay.db", int(free * share))

        assert finding.result == result and bool(finding.fix) == (result != "ok")

    def test_a_missing_folder_for_logs(self, tmp_path):
        assert host.log_dir(tmp_path).result == "ok"
        assert "install -d" in host.log_dir(tmp_path / "no").fix


class TestStore:
    def test_a_young_relay_lacks_only_a_worker(self, server, tmp_path):
        given = Settings(store=f"sqlite:///{tmp_path}/relay.db")
        with wiring.open_relay(given, create=True):
            pass

        [fault] = faults(store.check(given, server))

        assert (fault.check, fault.result, fault.fix) == ("worker", "fail", "systemctl restart claude-relay-worker")

    def test_a_store_that_is_no_more(self, server, tmp_path):
        path = tmp_path / "relay.db"
        given = Settings(store=f"sqlite:///{path}")

        [none_yet] = faults(store.check(given, server))
        with wiring.open_relay(given, create=True):
            pass
        path.write_bytes(b"")
        [truncated] = faults(store.check(given, server))

        assert none_yet.fix == "systemctl start claude-relay.target"
        assert "claude-relay restore" in truncated.fix and "systemctl start" in truncated.fix

    def test_what_does_not_move(self):
        overview = {
            "jobs": {"queued": 3, "held": 1},
            "oldestWaitingSeconds": 7200.0,
            "paused": ["night"],
            "deliveries": {"pending": 0, "sending": 0, "dead": 2},
        }
        found = {one.check: one.fix for one in faults(store.moving(overview))}

        assert set(found) == {"queue", "held", "groups", "deliveries"}
        assert found["groups"] == "claude-relay resume night"
        assert "redeliver --dead" in found["deliveries"]

    def test_a_backup_that_is_too_old(self):
        assert list(store.backup(None, NOW)) == []
        assert [one.result for one in store.backup({"at": NOW - 86400, "file": "/b/x.db"}, NOW)] == ["ok"]
        [old] = faults(store.backup({"at": NOW - 30 * 86400, "file": "/b/x.db"}, NOW))
        assert "claude-relay backup /b/relay-" in old.fix

    def test_a_model_that_goes_away(self, server):
        memo = {
            "fetchedAt": NOW - 3600,
            "provider": "anthropic",
            "models": [
                {"id": "claude-sonnet-4-9", "retiresAt": "2026-12-20T00:00:00Z", "lifecycle": "deprecated"},
                {"id": "claude-opus-4-9", "retiresAt": "2026-10-01T00:00:00Z", "lifecycle": "retired"},
                {"id": "claude-sonnet-5-5", "retiresAt": "2028-01-01T00:00:00Z", "lifecycle": "active"},
            ],
        }

        def told(memo=memo, **given):
            return [(one.result, one.fix) for one in faults(store.models(memo, Settings(**given), server))]

        assert told(model="claude-sonnet-5-5") == []
        [(result, mend)] = told(model="claude-opus-4-9")
        assert result == "fail" and "RELAY_MODEL=claude-" in mend and str(server.env_file) in mend
        both = {"model": "claude-sonnet-4-9", "fallback_models": ("claude-opus-4-9", "claude-sonnet-5-5")}
        [(first, _), (second, kept)] = told(**both)
        assert (first, second) == ("warn", "fail")
        assert ",claude-sonnet-5-5'" in kept
        # The sandbox's list says nothing of the real upstream.
        assert told({**memo, "provider": "sandbox"}, model="claude-sonnet-5-5") == []
        for nothing in (None, [], {"models": None}, {"models": [1]}):
            assert told(nothing) == []
            assert [result for result, _ in told(nothing, model="claude-3-5-sonnet-20241022")] == ["fail"]


class TestOutside:
    def test_a_destination_is_connected_to_and_a_dead_one_named(self):
        allowed = Settings(allow_private_urls=("127.0.0.1",))
        with socket.create_server(("127.0.0.1", 0)) as door:
            here = f"http://127.0.0.1:{door.getsockname()[1]}"

            assert wiring.probe_problem(allowed, here) is None
            assert "not public" in (wiring.probe_problem(Settings(), here) or "")

        assert "no connection" in (wiring.probe_problem(allowed, here) or "")
        assert "looked up" in (wiring.probe_problem(allowed, "https://nowhere.invalid") or "")

    def test_a_certificate_that_nobody_knows_is_told(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

        def greet(door: socket.socket) -> None:
            with contextlib.suppress(OSError), door.accept()[0] as guest:
                context.wrap_socket(guest, server_side=True)

        with socket.create_server(("127.0.0.1", 0)) as door:
            thread = threading.Thread(target=greet, args=(door,))
            thread.start()
            told = wiring.probe_problem(
                Settings(allow_private_urls=("127.0.0.1",)), f"https://127.0.0.1:{door.getsockname()[1]}"
            )
            thread.join(5)

        assert "certificate is not good" in (told or "")

    def test_the_latest_destinations_are_tried(self, tmp_path):
        given = Settings(store=f"sqlite:///{tmp_path}/relay.db")
        with wiring.open_relay(given, create=True) as relay:
            for host_name in ("one", "two", "one"):
                relay.submit(a_submission(webhook_url=f"http://{host_name}.invalid/hook"))
                [claimed] = relay.execution.claim("w", limit=1)
                relay.execution.sending(claimed)
                relay.execution.complete(claimed, a_completion())
            assert relay.queries.latest_destinations() == ["http://one.invalid", "http://two.invalid"]

        found = faults(network.webhooks(given))

        assert [one.detail.partition(": ")[0] for one in found] == ["http://one.invalid", "http://two.invalid"]
        assert all("redeliver --dead --host" in one.fix for one in found)

    @pytest.mark.parametrize(
        ("status", "result"), [(200, "ok"), (401, "fail"), (403, "fail"), (429, "warn"), (529, "warn"), (404, "fail")]
    )
    def test_what_anthropic_says_of_the_key(self, server, status, result):
        finding = network.judge(status, "https://api.anthropic.com", server.credentials / "ANTHROPIC_API_KEY", server)

        assert finding.result == result and bool(finding.fix) == (result != "ok")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Somebody's desk: no server's settings, a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_STORE", str(tmp_path / "store" / "relay.db"))
    monkeypatch.setenv("NO_COLOR", "1")
    return tmp_path


def doctor(capsys, *args: str) -> tuple[int, list[dict[str, str]]]:
    capsys.readouterr()
    code = main(["doctor", "--json", *args])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_wrong_settings_are_78_and_the_rest_is_looked_at_all_the_same(desk, capsys, monkeypatch):
    monkeypatch.setenv("RELAY_LEASSE", "1s")

    code, findings = doctor(capsys)

    assert code == 78
    assert {"settings", "clock"} <= {one["check"] for one in findings}
    assert all(one["mend"] for one in findings if one["result"] != "ok")


def test_it_asks_claude_only_when_told_to(desk, capsys, monkeypatch):
    with Sandbox() as claude:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-nothing")
        _, quiet = doctor(capsys)
        _, asked = doctor(capsys, "--upstream")

    assert "claude" not in {one["check"] for one in quiet}
    assert [one["result"] for one in asked if one["check"] == "claude"] == ["ok"]


@pytest.mark.parametrize(("extra", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_on_a_terminal_a_fault_is_red_and_its_mend_stands_below_it(desk, extra, coloured):
    main_end, other = pty.openpty()
    env = {"PATH": os.environ["PATH"], "HOME": str(desk), "TERM": "xterm-256color", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-m", "claude_relay", "doctor"],
        env={**env, "PYTHONPATH": str(ROOT), "RELAY_STORE": str(desk / "relay.db"), **extra},
        cwd=desk,
        stdin=subprocess.DEVNULL,
        stdout=other,
        stderr=other,
    )
    os.close(other)
    seen = b""
    with contextlib.suppress(OSError):
        while part := os.read(main_end, 65536):
            seen += part

    assert process.wait(30) == 1
    assert (b"\x1b[1;31mfail" in seen) == coloured and (b"\x1b" in seen) == coloured
    assert "→ claude-relay config init\r\n" in seen.decode()
    assert b"[31m" not in seen.replace(b"\x1b[1;31m", b"")
