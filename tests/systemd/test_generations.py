"""Restarts, reloads and upgrades while there is work: nothing is refused, interrupted or paid twice."""

from __future__ import annotations

import itertools
import threading

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written

from .machine import API, KEY, TARGET, UPSTREAM_KEY, WORKER, Machine

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]  # the first one makes the box


class Callers:
    """Submit without a pause until stopped, on new connections or on a persistent one."""

    def __init__(self, machine: Machine, count: int = 8, *, pause: float = 0.0, delay: str = "1h") -> None:
        self._machine, self._numbers, self._pause, self._delay = machine, itertools.count(), pause, delay
        self.stop = threading.Event()
        self.answers: list[int | str] = []
        self._running = [threading.Thread(target=machine.inside, args=(self._go,)) for _ in range(count)]
        for thread in self._running:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._running:
            thread.join(100)

    def _go(self) -> None:
        import requests

        own = requests.Session()
        own.trust_env = False
        own.headers.update(self._machine.http.headers)
        while not self.stop.wait(self._pause):
            number = next(self._numbers)
            headers = {"Connection": "close"} if number % 2 else {}
            body = {"prompt": "x", "requestId": f"n-{number}", "delay": self._delay}
            try:
                sent = own.post("http://127.0.0.1:3000/api/claude", json=body, headers=headers, timeout=30)
                self.answers.append(sent.status_code)
            except requests.RequestException as exc:
                self.answers.append(repr(exc))


@pytest.mark.parametrize("verb", ["restart", "reload"])
def test_three_restarts_of_the_api_under_load_refuse_nobody_and_lose_nothing(machine: Machine, verb: str) -> None:
    """Every POST is a 202, and every 202 is stored."""
    machine.systemctl("start", API)
    pid = machine.active(API)
    callers = Callers(machine)
    for _ in range(3):
        enough = len(callers.answers) + 60
        eventually(lambda enough=enough: len(callers.answers) >= enough)
        machine.systemctl(verb, API)
        pid = machine.active(API, other_than=pid)
    enough = len(callers.answers) + 60
    eventually(lambda: len(callers.answers) >= enough)
    callers.end()

    assert set(callers.answers) == {202}
    overview = machine.get("/api/overview")["jobs"]
    assert sum(overview.values()) == len(callers.answers) >= 240


def test_a_reload_hands_over_and_interrupts_no_call(machine: Machine, upstream: FakeClaude) -> None:
    """The new generation, with the current code and settings, claims at once; the old call is paid once."""
    go_on = threading.Event()
    upstream.when("long", head(), started(), *written("half"), Wait(go_on), *stopped())
    machine.settings(ANTHROPIC_BASE_URL=upstream.url)
    machine.systemctl("start", TARGET)
    old = machine.active(WORKER)
    machine.submit(requestId="long", prompt="long")
    eventually(lambda: len(upstream.books) == 1)

    machine.upgrade("99.0")
    machine.settings(ANTHROPIC_BASE_URL=upstream.url, RELAY_CONCURRENCY="7")
    machine.systemctl("reload", WORKER)
    new = machine.active(WORKER, other_than=old)
    machine.submit(requestId="short")

    assert machine.finished("short")["status"] == "completed"
    assert machine.get("/api/status/long")["status"] == "processing"
    workers = {worker["pid"]: worker["slots"] for worker in machine.get("/api/overview")["workers"]}
    assert workers == {old: 64, new: 7}
    assert '"version":"99.0"' in machine.said(WORKER)

    go_on.set()
    assert machine.finished("long")["status"] == "completed"
    assert len(upstream.books) == 2
    eventually(lambda: machine.run("kill", "-0", str(old), check=False).returncode != 0)
    machine.kill(WORKER, "SIGKILL")  # systemd watches the new one as it did the old
    machine.active(WORKER, other_than=new)


def test_a_stop_tells_every_generation_to_drain(machine: Machine, upstream: FakeClaude) -> None:
    """The unit does not end before the oldest call has."""
    go_on = threading.Event()
    upstream.when("long", head(), started(), *written("half"), Wait(go_on), *stopped())
    machine.settings(ANTHROPIC_BASE_URL=upstream.url)
    machine.systemctl("start", TARGET)
    pid = machine.active(WORKER)
    machine.submit(requestId="long", prompt="long")
    eventually(lambda: len(upstream.books) == 1)
    for _ in range(2):
        machine.systemctl("reload", WORKER)
        pid = machine.active(WORKER, other_than=pid)
    machine.systemctl("stop", "--no-block", WORKER)
    eventually(lambda: "earlier generation" in machine.show(WORKER, "StatusText")["StatusText"], every=0.2)
    go_on.set()
    eventually(lambda: machine.show(WORKER, "ActiveState")["ActiveState"] == "inactive", every=0.2)

    assert machine.show(WORKER, "Result")["Result"] == "success"
    assert machine.get("/api/status/long")["status"] == "completed"
    assert len(upstream.books) == 1


def test_a_reload_with_wrong_settings_changes_nothing(machine: Machine) -> None:
    """`systemctl reload` fails with a message; after a direct SIGHUP, log and status have the same message."""
    machine.systemctl("start", TARGET)
    pids = {unit: machine.active(unit) for unit in (API, WORKER)}
    machine.settings(RELAY_PROVIDER="sandbox", RELAY_CONCURENCY="7")
    for unit, pid in pids.items():
        assert machine.systemctl("reload", unit, check=False).returncode != 0
        assert machine.said(unit).count("did you mean RELAY_CONCURRENCY") == 1
        machine.kill(unit, "SIGHUP")
        status = eventually(lambda unit=unit: failed_reload(machine, unit), every=0.2)

        assert "see the log" in status
        assert machine.said(unit).count("did you mean RELAY_CONCURRENCY") == 2
        assert machine.active(unit) == pid
    assert machine.submit(requestId="r-1").status_code == 202
    assert machine.finished("r-1")["status"] == "completed"


def failed_reload(machine: Machine, unit: str) -> str | None:
    status = machine.show(unit, "StatusText")["StatusText"]
    return status if "reload failed" in status else None


def test_a_reload_reads_limits_keys_and_the_log_level_anew(machine: Machine) -> None:
    """Keys in a file that API_SECRET_KEY_FILE names, at once; systemd's own credentials at the next restart."""
    machine.write("etc/claude-relay/callers.key", f"{KEY}\n", 0o644)
    keys = {"RELAY_PROVIDER": "sandbox", "API_SECRET_KEY_FILE": "/etc/claude-relay/callers.key"}
    machine.settings(**keys)
    machine.drop_in(API, "[Service]\nLoadCredential=\nSetCredential=\n")
    machine.systemctl("start", API)
    pid = machine.active(API)
    assert [machine.submit(delay="1h").status_code for _ in range(3)] == [202] * 3

    machine.write("etc/claude-relay/callers.key", "another-secret-of-the-box-0123456789\n", 0o644)
    machine.settings(**keys, RELAY_RATE_LIMIT_SUBMIT="1/1h", LOG_LEVEL="debug")
    machine.systemctl("reload", API)
    machine.active(API, other_than=pid)
    # A connection that was open is still answered by the process of before, and then closed.
    eventually(lambda: machine.submit(delay="1h").status_code == 403)
    machine.http.headers["X-API-Key"] = "another-secret-of-the-box-0123456789"
    try:
        assert [machine.submit(delay="1h").status_code for _ in range(2)] == [202, 429]
    finally:
        machine.http.headers["X-API-Key"] = KEY


@pytest.mark.parametrize("first", [API, WORKER])
def test_two_versions_work_on_one_store_under_load(machine: Machine, upstream: FakeClaude, first: str) -> None:
    """One daemon upgraded, with a migration, before the other: no 202 is lost and no call is made twice."""
    machine.settings(ANTHROPIC_BASE_URL=upstream.url)
    machine.systemctl("start", TARGET)
    pid = machine.active(first)
    machine.active(WORKER)
    callers = Callers(machine, count=2, pause=0.05, delay="0s")
    eventually(lambda: len(callers.answers) >= 20)
    machine.upgrade("99.0", migration="ALTER TABLE jobs ADD COLUMN more TEXT; CREATE TABLE more (id TEXT PRIMARY KEY);")
    machine.systemctl("reload", first)
    machine.active(first, other_than=pid)
    enough = len(callers.answers) + 30
    eventually(lambda: len(callers.answers) >= enough)
    callers.end()

    assert set(callers.answers) == {202}
    count = len(callers.answers)
    eventually(lambda: machine.get("/api/overview")["jobs"]["completed"] == count, within=60, every=0.3)
    assert len(upstream.books) == count


def test_a_reload_brings_a_new_credential_and_interrupts_no_call(machine: Machine, upstream: FakeClaude) -> None:
    """CASES A8: `systemctl reload` takes the key of now; only the worker may read its copy."""
    go_on = threading.Event()
    upstream.when("long", head(), started(), *written("half"), Wait(go_on), *stopped())
    machine.settings(ANTHROPIC_BASE_URL=upstream.url)
    machine.systemctl("start", TARGET)
    old = machine.active(WORKER)
    machine.submit(requestId="long", prompt="long")
    eventually(lambda: len(upstream.books) == 1)

    machine.write("etc/claude-relay/credentials/ANTHROPIC_API_KEY", "sk-ant-the-next-key-0123456789", 0o600)
    machine.systemctl("reload", WORKER)
    machine.active(WORKER, other_than=old)
    machine.submit(requestId="short")
    assert machine.finished("short")["status"] == "completed"
    go_on.set()
    assert machine.finished("long")["status"] == "completed"
    keys = [call.headers["authorization"] for call in upstream.books]
    assert keys == [f"Bearer {UPSTREAM_KEY}", "Bearer sk-ant-the-next-key-0123456789"]

    folder = "/run/claude-relay/worker/main"
    listed = machine.run("find", folder, "-type", "f", "-printf", "%m %u %f\\n").stdout.split("\n")
    assert "400 claude-relay ANTHROPIC_API_KEY" in listed
    inside = ("nsenter", "--target", str(machine.active(API)), "--mount")
    assert machine.run(*inside, "ls", folder, check=False).returncode != 0

    machine.systemctl("restart", WORKER)
    assert machine.run("ls", folder, check=False).returncode != 0
