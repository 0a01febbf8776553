"""Mistakes of a sysadmin: each gets a message with the cure and the right exit code, and nothing is lost."""

from __future__ import annotations

import pytest

from tests.support.eventually import eventually

from .machine import API, ETC, KEY, SOCKET, STATE, TARGET, WORKER, Machine

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]  # the first one makes the box


def refused(machine: Machine, unit: str, *words: str, code: int = 78) -> None:
    """The unit is down for good, was not restarted, and logged those words."""
    told = machine.failed(unit)
    assert (told["ExecMainStatus"], told["NRestarts"]) == (str(code), "0")
    said = machine.said(unit)
    for word in words:
        assert word in said
    assert "Traceback" not in said


def test_a_misspelt_setting_and_a_bad_value_stop_the_start(machine: Machine) -> None:
    """Both at once; once fixed, the daemons start with the earlier data."""
    machine.systemctl("start", API)
    machine.active(API)
    machine.submit(requestId="r-1", delay="1h")
    machine.systemctl("stop", API)
    machine.settings(RELAY_PROVIDER="sandbox", RELAY_CONCURENCY="8", RELAY_DRAIN="soon")
    for unit in (API, WORKER):
        machine.systemctl("start", unit, check=False)
        refused(machine, unit, "RELAY_CONCURENCY", "did you mean RELAY_CONCURRENCY?", "RELAY_DRAIN")

    machine.settings(RELAY_PROVIDER="sandbox")
    machine.systemctl("restart", TARGET)
    machine.active(WORKER)
    machine.active(API)
    assert machine.get("/api/status/r-1")["status"] == "pending"


@pytest.mark.parametrize(
    "unit, name, text, words",
    [
        (API, "API_SECRET_KEY", None, "API_SECRET_KEY is missing"),
        (API, "API_SECRET_KEY", "\n", "API_SECRET_KEY is empty: write the key into"),
        (WORKER, "ANTHROPIC_API_KEY", None, "ANTHROPIC_API_KEY is missing"),
        (WORKER, "ANTHROPIC_API_KEY", "", "ANTHROPIC_API_KEY is empty: write the key into"),
    ],
)
def test_a_key_that_is_not_there_or_empty(machine: Machine, unit: str, name: str, text: str | None, words: str) -> None:
    """Without a key nothing starts, and the message says where it belongs."""
    machine.settings()
    machine.key(name, text or "")
    if text is None:
        machine.run("rm", f"/{ETC}/credentials/{name}")
    machine.systemctl("start", unit, check=False)

    refused(machine, unit, words, f"/{ETC}/credentials/{name}")


def test_a_key_file_that_the_service_may_not_read(machine: Machine) -> None:
    machine.settings(ANTHROPIC_API_KEY_FILE=f"/{ETC}/credentials/ANTHROPIC_API_KEY")
    machine.drop_in(WORKER, "[Service]\nLoadCredential=\nSetCredential=\n")
    machine.systemctl("start", WORKER, check=False)

    refused(machine, WORKER, "ANTHROPIC_API_KEY_FILE cannot be read", "correct the path or the file's permissions")


def test_clients_cannot_make_a_refused_api_spin(machine: Machine) -> None:
    """A connection starts the API; while its settings are wrong it fails soon, and so does the socket."""
    machine.settings(RELAY_CONCURENCY="8")
    machine.systemctl("start", SOCKET)
    with pytest.raises(Exception, match=r"refused|reset|aborted|closed|timed out"):
        machine.submit()
    eventually(lambda: machine.show(SOCKET, "ActiveState")["ActiveState"] == "failed", within=60, every=0.3)
    assert machine.said(API).count("did you mean") <= 21

    machine.settings(RELAY_PROVIDER="sandbox")
    machine.systemctl("reset-failed", "claude-relay*")
    machine.systemctl("start", API)
    assert machine.submit(requestId="r-1").status_code == 202


def test_a_full_disk_is_said_and_waited_for(machine: Machine) -> None:
    """No daemon gives up: as soon as there is space they start by themselves."""
    machine.run(
        "mount", "-t", "tmpfs", "-o", "size=400k,mode=2770,uid=claude-relay,gid=claude-relay", "tmpfs", f"/{STATE}"
    )
    try:
        machine.run("sh", "-c", f"cat /dev/zero > /{STATE}/filler 2>/dev/null || true")
        machine.systemctl("start", "--no-block", TARGET)
        eventually(lambda: "disk is full: make room" in machine.said(WORKER), within=60, every=0.3)
        eventually(lambda: "disk is full: make room" in machine.said(API), within=60, every=0.3)
        assert "Traceback" not in machine.said(API) + machine.said(WORKER)
        machine.run("mount", "-o", "remount,size=100m", f"/{STATE}")
        machine.run("rm", f"/{STATE}/filler")
        machine.active(API)
        machine.active(WORKER)
        assert machine.submit(requestId="r-1").status_code == 202
        assert machine.finished("r-1")["status"] == "completed"
        machine.systemctl("stop", TARGET, API, WORKER)
    finally:
        machine.systemctl("stop", API, WORKER, SOCKET)
        machine.run("umount", f"/{STATE}")


def test_a_read_only_disk_is_said(machine: Machine) -> None:
    machine.systemctl("start", TARGET)
    machine.active(API)
    machine.active(WORKER)
    machine.systemctl("stop", API, WORKER, SOCKET)
    machine.run("mount", "--bind", f"/{STATE}", f"/{STATE}")
    machine.run("mount", "-o", "remount,bind,ro", f"/{STATE}")
    try:
        machine.systemctl("start", "--no-block", API, WORKER)
        for unit in (API, WORKER):
            eventually(lambda unit=unit: "read-only" in machine.said(unit).lower(), within=60, every=0.3)
            assert "Traceback" not in machine.said(unit)
    finally:
        machine.systemctl("stop", API, WORKER, SOCKET)
        machine.run("umount", f"/{STATE}")
    machine.systemctl("start", TARGET)
    machine.active(API)
    machine.active(WORKER)


def test_a_port_that_is_taken(machine: Machine) -> None:
    """The socket unit reports it; without one the program does. The process that accepts jobs is not affected."""
    squatter = machine.inside(lambda: __import__("socket").create_server(("127.0.0.1", 3000)))
    with squatter:
        assert machine.systemctl("start", SOCKET, check=False).returncode != 0
        assert "listening socket (127.0.0.1:3000)" in machine.said(SOCKET)
        by_hand = machine.run(
            "env", f"API_SECRET_KEY={KEY}", "/opt/claude-relay/bin/claude-relay", "serve", check=False
        )
        assert by_hand.returncode == 78
        assert by_hand.stderr == (
            "claude-relay: PORT 3000 is already in use: stop the program that listens there, or set PORT to another.\n"
        )


def test_a_second_worker_of_the_same_name(machine: Machine) -> None:
    """Refused, and the first one continues."""
    machine.systemctl("start", TARGET)
    pid = machine.active(WORKER)
    second = machine.run("/opt/claude-relay/bin/claude-relay", "worker", "--name", "main", check=False)
    assert second.returncode == 9
    assert f"a worker named main is already running (process {pid}): stop it, or give this one" in second.stderr
    assert "Traceback" not in second.stderr

    machine.systemctl("start", "claude-relay-worker@2.service")
    machine.active("claude-relay-worker@2.service")
    assert machine.submit(requestId="r-1").status_code == 202
    assert machine.finished("r-1")["status"] == "completed"
    machine.systemctl("stop", TARGET)
    eventually(lambda: machine.show("claude-relay-worker@2.service", "ActiveState")["ActiveState"] == "inactive")


def test_a_clock_in_1970_is_waited_for(machine: Machine) -> None:
    """Neither daemon runs with it; once it is right they start by themselves."""
    machine.systemctl("start", TARGET)
    machine.active(API)
    machine.submit(requestId="r-1", delay="1h")
    machine.systemctl("stop", WORKER)
    lib = machine.run("sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
    machine.drop_in(
        WORKER,
        f'[Service]\nEnvironment=LD_PRELOAD={lib} FAKETIME_DONT_FAKE_MONOTONIC=1 "FAKETIME=@1970-01-02 00:00:00"\n',
    )
    machine.systemctl("start", "--no-block", WORKER)
    eventually(lambda: "the clock says 1970-01-02" in machine.said(WORKER), within=60, every=0.3)
    machine.drop_in(WORKER, "")

    machine.active(WORKER)
    assert machine.get("/api/status/r-1")["status"] == "pending"
