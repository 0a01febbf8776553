"""A relay with a PostgreSQL store under systemd: the drop-ins, and both in one container."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from tests.support.eventually import eventually
from tests.support.needs import lacks
from tests.support.receiver import Receiver

from .machine import ALERTS, API, ETC, PATH, ROOT, STATE, TARGET, UNITS, WORKER, Machine

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]  # the first one makes the box

DROP_INS = {
    "socket": ("claude-relay-.service.d/postgres.conf",),
    "tcp": ("claude-relay-.service.d/postgres.conf", "claude-relay-api.service.d/postgres-tcp.conf"),
}
SERVICES = (API, WORKER, "claude-relay-worker@.service", ALERTS)


@pytest.fixture
def laid(machine: Machine) -> Iterator[Callable[[str], Machine]]:
    """The drop-ins of a kind, as `make install POSTGRES=…` installs them."""

    def lay(kind: str) -> Machine:
        for path in DROP_INS[kind]:
            machine.write(f"{UNITS}/{path}", (ROOT / "systemd" / "postgres" / path).read_text())
        machine.systemctl("daemon-reload")
        return machine

    yield lay
    for path in DROP_INS["tcp"]:
        machine.run("rm", "-rf", f"/{UNITS}/{path.partition('/')[0]}")
    machine.systemctl("daemon-reload")


@pytest.mark.parametrize("kind", DROP_INS)
def test_systemd_has_nothing_to_say_about_the_drop_ins(laid, kind):
    machine = laid(kind)

    done = machine.run("systemd-analyze", "verify", *(f"/{UNITS}/{unit}" for unit in SERVICES), check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for unit in (API, WORKER, "claude-relay-worker@2.service", ALERTS):
        paths = machine.show(unit, "DropInPaths")["DropInPaths"].split()
        assert f"/{UNITS}/{DROP_INS[kind][0]}" in paths, unit
        assert (f"/{UNITS}/{DROP_INS['tcp'][1]}" in paths) == (kind == "tcp" and unit == API)


@pytest.mark.parametrize(
    "kind, unit, most",
    [("socket", API, 0.3), ("tcp", API, 1.2)]
    + [(kind, unit, 1.2) for kind in DROP_INS for unit in (WORKER, "claude-relay-worker@.service", ALERTS)],
)
def test_with_them_the_daemons_may_do_little_more(laid, kind, unit, most):
    """A local server, through its socket, needs no relaxation of the API's hardening."""
    told = laid(kind).run("systemd-analyze", "security", "--offline=yes", f"/{UNITS}/{unit}").stdout
    [score] = re.findall(r"exposure level for .*: ([\d.]+) ", told)
    print(kind, unit, score)

    assert float(score) <= most


# --- on a server in the box ---

_DOCS = (ROOT / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
_LOCAL = "postgresql://claude-relay@/claude-relay?host=/run/postgresql"
_SQL = ("runuser", "-u", "postgres", "--", "psql", "-XAtc")
_RELAY = "/opt/claude-relay/bin/claude-relay"
_SERVER = "postgresql.service"


def recipe() -> list[str]:
    """The commands of the page that create a local database, without those that install packages or the relay."""
    [block] = re.findall(r"## PostgreSQL\n.*?```bash\n(.*?)```", _DOCS, re.DOTALL)
    lines = [line for line in block.splitlines() if not re.match(r"apt-get|make install|claude-relay doctor", line)]
    assert len(lines) == 7

    return lines


@pytest.fixture(scope="module")
def server(installed: Machine) -> Machine:
    """Debian's PostgreSQL with a new cluster, and the database of the drop-ins in it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found or not Path("/usr/bin/pg_createcluster").exists():
        lacks("there is no PostgreSQL server: apt-get install postgresql")
    version = found[-1].parts[-3]
    fresh = f"rm -rf /etc/postgresql/* /var/lib/postgresql/* && pg_createcluster {version} main -- --no-sync -E UTF8"
    installed.run("sh", "-c", fresh)
    installed.systemctl("daemon-reload")
    installed.systemctl("start", _SERVER)
    for line in recipe()[:5]:
        installed.run("sh", "-c", line)
    return installed


@pytest.fixture
def relay(server: Machine, laid: Callable[[str], Machine]) -> Iterator[Callable[..., Machine]]:
    """A relay with an empty database, the drop-ins of a kind and these settings."""

    def begin(kind: str, **settings: str) -> Machine:
        machine = laid(kind)
        machine.settings(RELAY_PROVIDER="sandbox", **({"RELAY_STORE": _LOCAL} if kind == "socket" else {}), **settings)
        start(machine)
        return machine

    server.systemctl("start", _SERVER)
    for statement in (
        'DROP DATABASE "claude-relay" WITH (FORCE)',
        'CREATE DATABASE "claude-relay" OWNER "claude-relay"',
    ):
        server.run(*_SQL, statement)
    yield begin
    server.systemctl("stop", TARGET, API, WORKER)


def start(machine: Machine) -> None:
    machine.systemctl("start", TARGET)
    machine.active(API)
    machine.active(WORKER)


def doctor(machine: Machine) -> list[tuple[str, str, str]]:
    """The problems that the doctor finds: check, result, fix."""
    said = machine.run(_RELAY, "doctor", "--json", check=False).stdout
    findings = [json.loads(line) for line in said.splitlines()]

    return [(one["check"], one["found"], one["mend"]) for one in findings if one["result"] == "fail"]


def mended(machine: Machine, mend: str) -> None:
    """Run the fix of the doctor on the server, which is this machine."""
    command = re.split(r", on (?:the server|this machine)|; or ", mend)[0]
    machine.run("sh", "-c", f"cd / && {command}")


def posting(machine: Machine, prefix: str, number: int) -> dict[str, int]:
    """Many callers at once, each with one job; a caller whose connection was cut has no status."""

    def post(request_id: str) -> int:
        with contextlib.suppress(requests.ConnectionError):
            return machine.http.post(
                "http://127.0.0.1:3000/api/claude", json={"prompt": "x", "requestId": request_id}, timeout=60
            ).status_code
        return 0

    names = [f"{prefix}-{count}" for count in range(number)]
    return dict(zip(names, machine.inside_all([partial(post, name) for name in names]), strict=True))


def kept(machine: Machine, answers: dict[str, int]) -> set[str]:
    """The jobs answered 202 that are not completed yet."""
    accepted = {name for name, status in answers.items() if status == 202}

    def open_() -> set[str]:
        listed = machine.run(*_SQL, "SELECT request_id FROM jobs WHERE state = 'completed'", "claude-relay").stdout
        return accepted - set(listed.split())

    with contextlib.suppress(AssertionError):
        eventually(lambda: not open_(), within=60, every=0.3)
    return open_()


def test_the_page_brings_it_up_without_a_network_for_the_api(relay):
    """Root's command line uses the same store, through another database account."""
    machine = relay("socket")
    assert recipe()[5].startswith("echo 'RELAY_STORE=") and _LOCAL in recipe()[5]

    assert machine.submit(requestId="r-1").status_code == 202
    assert machine.finished("r-1")["status"] == "completed"
    assert machine.show(API, "PrivateNetwork")["PrivateNetwork"] == "yes"
    assert doctor(machine) == []
    assert _LOCAL in machine.run(_RELAY, "status").stdout
    assert not (machine.root / STATE / "relay.db").exists()


def test_over_tcp_the_address_is_a_credential_and_its_password_shows_nowhere(relay, server):
    password = "the-word-of-the-server-0123456789"
    server.run(*_SQL, f"ALTER ROLE \"claude-relay\" PASSWORD '{password}'")
    server.key("RELAY_STORE", f"postgresql://claude-relay:{password}@127.0.0.1/claude-relay\n")
    machine = relay("tcp", RELAY_STORE_FILE=f"/{ETC}/credentials/RELAY_STORE")

    assert machine.submit(requestId="r-1").status_code == 202
    assert machine.finished("r-1")["status"] == "completed"
    assert doctor(machine) == []
    worker = machine.main_pid(WORKER)
    machine.systemctl("reload", WORKER)  # whose check may read no credential, and none of root's files
    machine.active(WORKER, other_than=worker)
    shown = [machine.said("claude-relay*"), machine.run(_RELAY, "config", "show", "--origin").stdout]
    shown += [machine.run(_RELAY, verb, check=False).stdout for verb in ("status", "doctor")]
    for unit in (API, WORKER):
        pid = machine.main_pid(unit)
        shown.append(machine.run("sh", "-c", f"tr '\\0' '\\n' < /proc/{pid}/environ; cat /proc/{pid}/cmdline").stdout)
    assert not any(password in one for one in shown)
    stranger = machine.run(*as_member(machine), _RELAY, "status", check=False)
    assert stranger.returncode == 78 and "RELAY_STORE_FILE cannot be read" in stranger.stderr


def test_a_restart_of_the_api_under_load_refuses_nobody_and_loses_nothing(relay):
    machine = relay("socket")
    answers: dict[str, int] = {}
    callers = threading.Thread(target=lambda: answers.update(posting(machine, "load", 200)))
    callers.start()
    for _ in range(2):
        machine.systemctl("restart", API)
    callers.join(120)

    assert len(answers) == 200 and set(answers.values()) == {202}
    assert kept(machine, answers) == set()


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_a_server_that_goes_and_comes_back_is_taken_up_again(relay, how):
    """Without a restart of any daemon: every 202 is completed, and every other answer was a 503."""
    machine = relay("socket", RELAY_LEASE="5s")
    [cluster] = machine.systemctl("list-units", "--plain", "--no-legend", "postgresql@*").stdout.split()[:1]
    pids = [machine.main_pid(unit) for unit in (API, WORKER)]
    answers: dict[str, int] = {}
    enough = threading.Event()

    def go_on() -> None:
        for turn in itertools.count():
            answers.update(posting(machine, f"{how}-{turn}", 20))
            if enough.wait(0.2):  # nobody knocks at a closed door all the time
                return

    def taken() -> int:
        return Counter(answers.values())[202]

    callers = threading.Thread(target=go_on)
    callers.start()
    try:
        eventually(lambda: taken() >= 40, within=60)
        if how == "crash":
            machine.kill(cluster, "SIGKILL")
        machine.systemctl("restart", cluster)
        before = taken()
        eventually(lambda: taken() > before + 20, within=60)
    finally:
        enough.set()
        callers.join(120)

    assert set(answers.values()) <= {202, 503}, Counter(answers.values())
    assert kept(machine, answers) == set()
    assert [machine.main_pid(unit) for unit in (API, WORKER)] == pids


def test_what_is_broken_is_mended_with_what_the_doctor_says(relay, server):
    """Three faults, one after the other, fixed by its messages alone."""
    machine = relay("socket")
    server.run(*_SQL, "ALTER SYSTEM SET fsync = off")
    server.run(*_SQL, "SELECT pg_reload_conf()")
    [(check, found, mend)] = eventually(lambda: doctor(machine), within=60)
    assert check == "server" and "fsync" in found
    mended(machine, mend)
    eventually(lambda: doctor(machine) == [], within=60)

    server.systemctl("stop", _SERVER)
    eventually(lambda: any("no server answers" in found for _, found, _ in doctor(machine)), within=60)
    machine.systemctl("restart", API, check=False)  # which cannot start meanwhile, and goes on trying
    assert "out of reach" in machine.said(API) and "Traceback" not in machine.said(API)
    [mend] = [mend for check, _, mend in doctor(machine) if check == "store"]
    mended(machine, mend)
    machine.active(API)
    eventually(lambda: doctor(machine) == [], within=60)

    member = machine.run(*as_member(machine), _RELAY, "doctor", "--json", check=False).stdout
    [(found, mend)] = [
        (one["found"], one["mend"]) for one in map(json.loads, member.splitlines()) if one["check"] == "store"
    ]
    assert "and this is nobody" in found
    mended(machine, mend)
    eventually(lambda: machine.run(*as_member(machine), _RELAY, "status", check=False).returncode == 0, within=60)

    machine.settings(RELAY_PROVIDER="sandbox", RELAY_STORE="postgresql://claude-relay@127.0.0.1/claude-relay")
    assert any("make install POSTGRES=tcp" in mend for _, _, mend in doctor(machine))


def test_that_there_is_no_worker_is_told_by_the_unit_that_has_a_network(relay, server):
    """It opens the same store: the drop-in applies to it, too."""
    server.patience(5)
    with server.inside(Receiver) as hook:
        server.key("RELAY_ALERT_URL", hook.url("/alert", host="localhost"))
        machine = relay("socket")
        machine.systemctl("stop", WORKER)
        machine.submit(requestId="waits")
        [told] = hook.wait_for(1, timeout=60)
        machine.systemctl("stop", PATH)

    assert told.json["alert"] == "no_worker"
    assert "Alerts sent: 1." in machine.said(ALERTS)


def as_member(machine: Machine) -> tuple[str, ...]:
    group = machine.run("getent", "group", "claude-relay").stdout.split(":")[2]

    return ("setpriv", "--reuid=65534", "--regid=65534", f"--groups={group}")
