"""The daemons under a real systemd: start, crash, hang, stop, and isolation."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest
import standardwebhooks

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written
from tests.support.receiver import Receiver

from .machine import API, ETC, KEY, SOCKET, STATE, TARGET, UPSTREAM_KEY, WORKER, Machine

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]  # the first one makes the box


def test_the_target_brings_everything_up_and_a_job_goes_all_the_way(machine: Machine) -> None:
    """READY of both, a status line, and a completed job, all in the sandbox."""
    machine.systemctl("start", TARGET)
    machine.active(API)
    machine.active(WORKER)
    assert machine.submit(requestId="r-1").status_code == 202
    assert machine.finished("r-1")["status"] == "completed"
    eventually(lambda: machine.show(WORKER, "StatusText")["StatusText"] == "0 in flight, 0 waiting", every=0.2)
    assert machine.show(API, "StatusText")["StatusText"].startswith("listening on http://127.0.0.1:3000")

    machine.systemctl("stop", TARGET)
    for unit in (API, WORKER, SOCKET):
        eventually(lambda unit=unit: machine.show(unit, "ActiveState")["ActiveState"] == "inactive", every=0.1)
        assert machine.show(unit, "Result")["Result"] == "success"


def test_what_is_killed_comes_back(machine: Machine) -> None:
    """Within seconds, by itself."""
    machine.systemctl("start", TARGET)
    first = {unit: machine.active(unit) for unit in (API, WORKER)}
    for unit in first:
        machine.kill(unit, "SIGKILL")
    for unit, pid in first.items():
        machine.active(unit, other_than=pid)

    assert machine.submit(requestId="r-1").status_code == 202
    assert machine.finished("r-1")["status"] == "completed"


def test_a_hung_worker_is_shot_by_the_watchdog_and_comes_back(machine: Machine) -> None:
    """One thread hangs and all others go on; the log names it, with a traceback of every thread."""
    armed = "Environment=CLAUDE_RELAY_TESTING=1 CLAUDE_RELAY_FAILPOINT=loop.slots:2\n"
    machine.drop_in(WORKER, f"[Service]\nWatchdogSec=3s\n{armed}")
    machine.systemctl("start", TARGET)
    first = machine.active(WORKER)
    machine.drop_in(WORKER, "[Service]\nWatchdogSec=3s\n")
    machine.active(WORKER, other_than=first)

    said = machine.said(WORKER)
    assert "Watchdog timeout" in said
    assert '"part":"slots"' in said
    assert "Current thread" in said or "Thread 0x" in said


def test_an_api_whose_main_loop_hangs_is_shot_and_comes_back(machine: Machine) -> None:
    machine.drop_in(API, "[Service]\nWatchdogSec=3s\n")
    machine.systemctl("start", API)
    first = machine.active(API)
    machine.kill(API, "SIGSTOP")

    machine.active(API, other_than=first)


def test_a_drain_longer_than_the_units_timeout_is_waited_for(machine: Machine, upstream: FakeClaude) -> None:
    """TimeoutStopSec=2 and a call that takes five seconds more: it is drained, and paid once."""
    go_on = threading.Event()
    upstream.then(head(), started(), *written("slow"), Wait(go_on), *stopped())
    machine.drop_in(WORKER, "[Service]\nTimeoutStopSec=2s\n")
    machine.settings(ANTHROPIC_BASE_URL=upstream.url)
    machine.systemctl("start", TARGET)
    machine.active(WORKER)
    machine.submit(requestId="r-1")
    eventually(lambda: len(upstream.books) == 1)
    threading.Timer(5, go_on.set).start()
    machine.systemctl("stop", WORKER)

    assert go_on.is_set()
    assert machine.show(WORKER, "Result")["Result"] == "success"
    assert machine.get("/api/status/r-1")["status"] == "completed"
    assert len(upstream.books) == 1


def test_each_daemon_has_its_own_keys_and_no_others(machine: Machine, upstream: FakeClaude) -> None:
    """Neither in its credentials, nor in its environment, nor through the other daemon."""
    machine.settings(ANTHROPIC_BASE_URL=upstream.url)
    machine.systemctl("start", TARGET)
    machine.active(WORKER)
    machine.active(API)
    for unit, own, others in ((API, KEY, UPSTREAM_KEY), (WORKER, UPSTREAM_KEY, KEY)):
        pid = machine.main_pid(unit)
        look = ("nsenter", f"--target={pid}", "--mount", "sh", "-c", "cat /run/credentials/*/* 2>&1")
        seen = machine.run(*look, check=False).stdout
        environ = machine.run("sh", "-c", f"tr '\\0' '\\n' < /proc/{pid}/environ").stdout
        assert own in seen
        assert others not in seen + environ
        assert own not in environ
        as_it = ("setpriv", "--reuid=claude-relay", "--regid=claude-relay", "--clear-groups")
        for path in (f"/{ETC}/credentials/API_SECRET_KEY", f"/{ETC}/credentials/ANTHROPIC_API_KEY"):
            assert machine.run(*as_it, "cat", path, check=False).returncode != 0
    assert machine.submit(requestId="r-1").status_code == 202
    machine.finished("r-1")
    assert upstream.books[0].headers["authorization"] == f"Bearer {UPSTREAM_KEY}"


def test_an_encrypted_credential_does_as_well(machine: Machine, upstream: FakeClaude) -> None:
    machine.settings(ANTHROPIC_BASE_URL=upstream.url)
    plain, sealed = f"/{ETC}/credentials/ANTHROPIC_API_KEY", f"/{ETC}/credentials/ANTHROPIC_API_KEY.cred"
    machine.run("systemd-creds", "setup")
    machine.run("systemd-creds", "encrypt", "--with-key=host", "--name=ANTHROPIC_API_KEY", plain, sealed)
    machine.run("rm", plain)
    text = f"[Service]\nLoadCredential=\nLoadCredentialEncrypted=ANTHROPIC_API_KEY:{sealed}\n"
    machine.drop_in(WORKER, text)
    machine.systemctl("start", TARGET)
    first = machine.active(WORKER)
    machine.submit(requestId="r-1")
    machine.finished("r-1")

    assert upstream.books[0].headers["authorization"] == f"Bearer {UPSTREAM_KEY}"

    machine.write(plain.removeprefix("/"), "sk-ant-the-next-key-0123456789", 0o600)
    machine.run("systemd-creds", "encrypt", "--with-key=host", "--name=ANTHROPIC_API_KEY", plain, sealed)
    machine.run("rm", plain)
    machine.systemctl("reload", WORKER)
    machine.active(WORKER, other_than=first)  # until the next generation is ready, the first may claim
    machine.submit(requestId="r-2")
    machine.finished("r-2")
    assert upstream.books[1].headers["authorization"] == "Bearer sk-ant-the-next-key-0123456789"


def test_what_they_write_is_for_their_group_and_nobody_else(machine: Machine) -> None:
    """A member of the group can use every command; any other user gets a message with the reason."""
    machine.systemctl("start", TARGET)
    machine.active(WORKER)
    machine.submit(requestId="r-1")
    machine.finished("r-1")
    listed = machine.run("find", f"/{STATE}", "-ignore_readdir_race", "-printf", "%y %m %u:%g %P\n").stdout.splitlines()

    assert len(listed) > 5
    for line in listed:
        _, mode, owner, *_ = line.split(" ")
        assert owner == "claude-relay:claude-relay", line
        assert int(mode, 8) & 0o007 == 0, line

    group = machine.run("getent", "group", "claude-relay").stdout.split(":")[2]
    command = "/opt/claude-relay/bin/claude-relay"
    member = ("setpriv", "--reuid=65534", "--regid=65534", f"--groups={group}", command)
    submitted = machine.run(*member, "submit", "hello", "--id", "r-2")
    assert submitted.stdout.strip() == "r-2"
    assert machine.finished("r-2")["status"] == "completed"
    stranger = machine.run(
        "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", command, "status", check=False
    )
    assert stranger.returncode == 78
    assert "cannot be read" in stranger.stderr


def test_the_journal_finds_a_job_by_its_request_id(machine: Machine) -> None:
    """Accepted by one daemon and completed by the other: `journalctl REQUEST_ID=…` shows both."""
    machine.systemctl("start", TARGET)
    machine.active(WORKER)
    machine.submit(requestId="some-job-of-mine")
    machine.finished("some-job-of-mine")

    def completed() -> list[dict[str, Any]]:
        entries = machine.journal("claude-relay*", "REQUEST_ID=some-job-of-mine")
        return entries if any("job completed" in entry["MESSAGE"] for entry in entries) else []

    entries = eventually(completed, every=0.2)  # the job has ended a moment before the worker writes its line
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"claude-relay-worker"}
    assert "job completed" in entries[-1]["MESSAGE"]
    assert entries[-1]["PRIORITY"] == "6"


def test_everything_works_within_the_fence(machine: Machine) -> None:
    """Structured output, a batch, signed callbacks to a host name, log files: with the unmodified units."""
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    machine.key("RELAY_WEBHOOK_SECRET", secret)
    machine.settings(
        RELAY_PROVIDER="sandbox", RELAY_ALLOW_PRIVATE_URLS="localhost,127.0.0.1", RELAY_LOG_DIR="/var/log/claude-relay"
    )
    schema = {"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]}
    with machine.inside(Receiver) as hook:
        machine.systemctl("start", TARGET)
        machine.active(WORKER)
        url = hook.url("/x", host="localhost")
        machine.submit(requestId="json", options={"outputSchema": schema}, webhookUrl=url)
        machine.submit(requestId="batch", mode="batch", webhookUrl=url)
        received = {one.json["requestId"]: one for one in hook.wait_for(2, timeout=60)}

    assert isinstance(received["json"].json["json"]["sum"], (int, float))
    assert received["batch"].json["mode"] == "batch"
    for one in received.values():
        standardwebhooks.Webhook(secret).verify(one.body, dict(one.headers))
    logs = machine.run("stat", "-c", "%a %U %n", "/var/log/claude-relay/combined.log").stdout
    assert logs.startswith("640 claude-relay")
    eventually(lambda: "job completed" in machine.run("cat", "/var/log/claude-relay/combined.log").stdout, every=0.2)
    for unit in (API, WORKER):
        assert '"level":"error"' not in machine.said(unit)
