"""`make install` on a server: the first time, over a running relay, with a version that is too old, and uninstalled."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.support.collector import Collector
from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written
from tests.support.receiver import Receiver

from . import venv
from .machine import API, ETC, KEY, PATH, SOCKET, STATE, TARGET, UPSTREAM_KEY, WORKER, Machine, needs_of_a_box

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

_PARTS = "Makefile README.md LICENSE constraints setup.cfg setup.py bin systemd claude_relay"
#: There is no network in the box, so the libraries lie there as files. Nothing is compiled ahead: that takes long.
_PIP = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/wheels PIP_NO_COMPILE=1"
_NEXT, _OLD = "9.9.9", "0.0.1"
_TCP = "claude-relay-api.service.d/postgres-tcp.conf"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine without any installation."""
    needs_of_a_box()
    under = tmp_path_factory.mktemp("opt")
    venv.wheels(under / "wheels")
    machine = Machine(tmp_path_factory.mktemp("box"), under)
    try:
        # The container image has something at /opt/claude-relay; a machine without an installation does not, nor has
        # it the files of a relay on the host, which the box would show.
        away = "cp -r /opt/claude-relay/wheels /srv/wheels && umount /opt/claude-relay && rmdir /opt/claude-relay"
        away += f" && rm -rf /{STATE} /{ETC} /var/log/claude-relay"
        machine.run("sh", "-c", away)
        yield machine
    finally:
        machine.close()


def make(server: Machine, target: str, source: str = "/srv/src") -> subprocess.CompletedProcess[str]:
    return server.run("sh", "-c", f"cd {source} && {_PIP} make {target} 2>&1", check=False, timeout=300)


def checkout(server: Machine, name: str, version: str, change: str = "true") -> str:
    """A checkout of another version on that machine."""
    edit = f"""mkdir /srv/{name} && cd /srv/src && cp -r {_PARTS} /srv/{name} && cd /srv/{name} &&
               sed -i 's/^__version__ = .*/__version__ = "{version}"/' claude_relay/__init__.py && {change}"""
    server.run("sh", "-c", edit)
    return f"/srv/{name}"


def command(server: Machine, line: str, user: str = "root") -> subprocess.CompletedProcess[str]:
    path = "export PATH=/usr/local/bin:/usr/bin:/bin"
    return server.run("su", user, "-s", "/bin/bash", "-c", f"cd /; {path}; {line}", check=False)


def release(server: Machine) -> str:
    """The release folder that the command resolves to."""
    return server.run("readlink", "/opt/claude-relay/bin").stdout.strip()


def kept(server: Machine) -> dict[str, str]:
    """The files that an upgrade must not change."""
    files = ("claude-relay.env", "credentials/API_SECRET_KEY", "credentials/ANTHROPIC_API_KEY")
    return {file: (server.root / ETC / file).read_text() for file in files}


@pytest.fixture(scope="module")
def installed(server: Machine) -> Machine:
    """By the commands of docs/how-to/deploy.md, with a key of the test's."""
    done = make(server, "install")
    assert done.returncode == 0, done.stdout
    assert "systemctl start claude-relay.target" in done.stdout
    server.key("API_SECRET_KEY", KEY)
    server.key("ANTHROPIC_API_KEY", UPSTREAM_KEY)
    with (server.root / ETC / "claude-relay.env").open("a") as file:
        file.write("RELAY_PROVIDER=sandbox\nRELAY_RATE_LIMIT_SUBMIT=off\nRELAY_RATE_LIMIT=off\nRELAY_DISK_FLOOR=0\n")
    server.systemctl("start", TARGET)
    server.active(API, within=120)  # nothing is compiled yet
    server.active(WORKER, within=120)
    server.submit(requestId="first")
    server.run("useradd", "--create-home", "--groups", "claude-relay", "anna")
    server.run("useradd", "--create-home", "bert")
    return server


def test_after_five_minutes_there_is_a_relay_that_works(installed):
    assert installed.finished("first")["status"] == "completed"
    assert command(installed, "claude-relay config check").returncode == 0
    health = command(installed, "claude-relay doctor")
    assert health.returncode == 0, health.stdout
    for unit in (TARGET, SOCKET):
        assert installed.systemctl("is-enabled", unit).stdout.strip() == "enabled"


def test_an_operator_in_the_group_works_with_it_and_sees_no_key(installed):
    assert command(installed, "claude-relay submit --wait hello", "anna").returncode == 0
    assert command(installed, "claude-relay status --json", "anna").returncode == 0
    assert command(installed, "claude-relay status", "bert").returncode != 0
    for path in ("credentials/API_SECRET_KEY", "credentials/ANTHROPIC_API_KEY"):
        assert command(installed, f"cat /{ETC}/{path}", "anna").returncode != 0
    assert command(installed, f"cat /{STATE}/relay.db", "bert").returncode != 0
    # And the daemons can still write what she had opened.
    assert installed.submit(requestId="after-anna").status_code == 202
    assert installed.finished("after-anna")["status"] == "completed"


def test_man_pages_and_completion_are_where_people_look(installed):
    # By mandoc: man itself needs a formatter, a cache and a sandbox, and is silent where one of them is not there.
    page = command(installed, "mandoc -T utf8 /usr/local/share/man/man1/claude-relay-submit.1", "anna")
    tab = "source /usr/local/share/bash-completion/completions/claude-relay; COMP_WORDS=(claude-relay status fir);"
    tab += " COMP_CWORD=2; _claude_relay_completion claude-relay; echo ${COMPREPLY[@]}"

    assert {"SYNOPSIS", "--wait"} <= set(re.sub(r".\x08", "", page.stdout).split()), page
    # A tab never waits long for the store, so that on a busy machine it may have nothing to offer.
    eventually(lambda: command(installed, tab, "anna").stdout.split() == ["first"], within=30)


def test_an_upgrade_interrupts_no_call_and_refuses_nobody(installed):
    """`make install` of another version with the queue full, calls in flight and callers submitting."""
    before, first = kept(installed), release(installed)
    source, releases = checkout(installed, "next", _NEXT), installed.root / "opt/claude-relay/releases"
    go_on = threading.Event()
    with installed.inside(FakeClaude) as upstream:
        for name in ("long-1", "long-2"):
            upstream.when(name, head(), started(), *written("half"), Wait(go_on), *stopped())
        env = installed.root / ETC / "claude-relay.env"
        with env.open("a") as file:
            file.write(f"RELAY_PROVIDER=anthropic\nANTHROPIC_BASE_URL={upstream.url}\nRELAY_CONCURRENCY=2\n")
        former = installed.active(WORKER)
        installed.systemctl("reload", WORKER)
        installed.systemctl("stop", PATH)  # as where the version before knew none
        old = installed.active(WORKER, other_than=former)
        result: list[subprocess.CompletedProcess[str]] = []
        upgrade = threading.Thread(
            target=lambda: result.append(make(installed, "install POSTGRES=tcp OTEL=yes", source))
        )
        upgrade.start()
        # Once the libraries are in their place, it is a matter of seconds.
        eventually(lambda: list(releases.glob(f"{_NEXT}-*/bin/claude-relay")), within=200)
        for name in ("long-1", "long-2"):
            installed.submit(requestId=name, prompt=name)
        eventually(lambda: len(upstream.books) == 2, within=60)
        answers = [installed.submit(requestId=f"wait-{number}", prompt="short").status_code for number in range(20)]
        while upgrade.is_alive() and len(answers) < 2000:
            answers.append(installed.submit(requestId=f"n-{len(answers)}", delay="1h").status_code)
        upgrade.join(200)
        new = installed.active(WORKER, other_than=old)
        claimed_by_new = installed.finished("wait-3", within=60)["status"]
        both_open = {installed.get(f"/api/status/{name}")["status"] for name in ("long-1", "long-2")}
        go_on.set()
        ends = [installed.finished(name, within=60) for name in ("long-1", "long-2")]

    assert result[0].returncode == 0, result[0].stdout
    assert "RELAY_STORE" in result[0].stdout and "systemctl restart" in result[0].stdout
    assert set(answers) == {202}
    assert claimed_by_new == "completed" and both_open == {"processing"}
    assert [(end["status"], end["attempts"]) for end in ends] == [("completed", 1)] * 2
    assert sum(seen.body["messages"][0]["content"] in ("long-1", "long-2") for seen in upstream.books) == 2
    assert command(installed, "claude-relay --version").stdout.split()[-1] == _NEXT
    assert f"releases/{_NEXT}-" in installed.run("cat", f"/proc/{new}/cmdline").stdout
    assert release(installed) != first
    assert installed.show(PATH, "ActiveState")["ActiveState"] == "active"
    now = kept(installed)
    assert now.pop("claude-relay.env").startswith(before.pop("claude-relay.env"))
    assert now == before


def test_a_server_for_the_jobs_is_chosen_once(installed):
    """POSTGRES= installed the driver and the drop-ins in the upgrade above; an upgrade without it keeps them."""
    units = installed.root / "usr/local/lib/systemd/system"
    laid = [units / path for path in ("claude-relay-.service.d/postgres.conf", _TCP)]
    import_it = "$(readlink -m /opt/claude-relay/bin)/python -c 'import psycopg'"
    if not all(path.exists() for path in laid):  # this test runs alone
        assert make(installed, "install POSTGRES=tcp").returncode == 0
    assert all(path.exists() for path in laid) and command(installed, import_it).returncode == 0

    env = installed.root / ETC / "claude-relay.env"
    settings = env.read_text()
    env.write_text(settings + "RELAY_STORE=postgresql://relay@/relay?host=/run/postgresql\n")
    without = make(installed, "install POSTGRES=no")
    env.write_text(settings)
    assert without.returncode != 0 and "make install POSTGRES=socket" in without.stdout
    assert "installing" not in without.stdout

    wrong = make(installed, "install POSTGRES=yes")
    assert wrong.returncode != 0 and "socket (a server on this machine), tcp" in wrong.stdout
    assert "installing" not in wrong.stdout

    again = make(installed, "install")
    assert again.returncode == 0 and "RELAY_STORE" not in again.stdout
    assert all(path.exists() for path in laid) and command(installed, import_it).returncode == 0


def test_traces_of_an_installed_relay_reach_a_collector(installed):
    """OTEL=yes installed the libraries in the upgrade above; the limits of the units let the spans out (issue 15.6)."""
    if command(installed, "$(readlink -m /opt/claude-relay/bin)/python -c 'import opentelemetry.sdk'").returncode:
        assert make(installed, "install OTEL=yes").returncode == 0  # this test runs alone
    trace, env = "4bf92f3577b34da6a3ce929d0e0e4736", installed.root / ETC / "claude-relay.env"
    settings, collector = env.read_text(), installed.inside(Collector)
    with installed.inside(Receiver) as hook:
        more = (
            f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.url}\nRELAY_PROVIDER=sandbox\nRELAY_ALLOW_PRIVATE_URLS=127.0.0.1\n"
        )
        env.write_text(settings + more)
        pids = [installed.main_pid(unit) for unit in (API, WORKER)]
        installed.systemctl("restart", API, WORKER)
        for unit, pid in zip((API, WORKER), pids, strict=True):
            installed.active(unit, other_than=pid, within=120)
        installed.http.headers["traceparent"] = f"00-{trace}-00f067aa0ba902b7-01"
        assert installed.submit(requestId="traced", webhookUrl=hook.url("/x")).status_code == 202
        del installed.http.headers["traceparent"]
        eventually(lambda: len(collector.spans) >= 4, within=60)
    collector.close()
    env.write_text(settings)
    installed.systemctl("restart", API, WORKER)
    for unit in (API, WORKER):
        installed.active(unit, within=120)

    names = {"claude_relay.accept", "claude_relay.wait", "anthropic.messages.create", "claude_relay.delivery"}
    assert set(collector.named()) == names and {span["trace"] for span in collector.spans} == {trace}


def test_an_old_version_is_refused_before_anything_is_replaced(installed):
    """Its code does not know the schema that the store has by now."""
    migrations = "claude_relay/storage/sqlite/migrations"
    source = checkout(installed, "old", _OLD, f"mv {migrations}/0001_first.sql {migrations}/0000_first.sql")
    before, pids = release(installed), [installed.main_pid(unit) for unit in (API, WORKER)]

    refused = make(installed, "install", source)

    assert refused.returncode != 0
    assert "newer version" in refused.stdout and "nothing was replaced" in refused.stdout
    assert "installing" not in refused.stdout  # it is said at once, not after the libraries
    assert release(installed) == before
    assert [installed.main_pid(unit) for unit in (API, WORKER)] == pids
    assert not list((installed.root / "opt/claude-relay/releases").glob(f"{_OLD}-*"))
    assert installed.submit(requestId="still-here").status_code == 202


def test_off_again_it_leaves_the_data_and_says_where(installed):
    before = kept(installed)

    done = make(installed, "uninstall")

    assert done.returncode == 0, done.stdout
    assert all(path in done.stdout for path in (f"/{STATE}", f"/{ETC}", "/var/log/claude-relay"))
    assert kept(installed) == before
    assert (installed.root / STATE / "relay.db").stat().st_size > 0
    assert command(installed, "claude-relay --version").returncode == 127
    assert "0 unit files" in installed.systemctl("list-unit-files", "claude-relay*", check=False).stdout
    assert list((installed.root / "usr/local").rglob("*claude-relay*")) == []
    assert not (installed.root / "opt/claude-relay").exists()
