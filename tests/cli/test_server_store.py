"""The command line of a relay whose store is a PostgreSQL server: every verb works, or says what does instead."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from claude_relay import wiring
from claude_relay.cli.doctor import postgres
from claude_relay.cli.doctor.system import System
from claude_relay.cli.main import main
from claude_relay.config import load
from claude_relay.core.keys import Scope
from claude_relay.services import JobRef
from tests.support.builders import a_submission
from tests.support.postgres import Cluster

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A real server that syncs, as one in earnest."""
    with Cluster(durable=True) as cluster:
        yield cluster.start()


@pytest.fixture(scope="module")
def filled(cluster) -> str:
    """A database with a store, and a job in it."""
    url = cluster.database()
    with wiring.open_relay(load({"RELAY_STORE": url}, dotenv=None, etc=None), create=True) as relay:
        relay.submit(a_submission("invoice-1", group="night"))
        relay.keys.add("make", frozenset({Scope.SUBMIT}))
    return url


@pytest.fixture
def desk(tmp_path, monkeypatch) -> None:
    """An empty folder, and no colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def store(filled, desk, monkeypatch) -> str:
    """The one that the settings name."""
    monkeypatch.setenv("RELAY_STORE", filled)
    return filled


@pytest.fixture
def empty(cluster, desk, monkeypatch) -> Iterator[str]:
    """A database of the test's own, which its settings name."""
    url = cluster.database()
    monkeypatch.setenv("RELAY_STORE", url)
    yield url
    cluster.drop(url)


@pytest.fixture
def run(desk, cluster, capsys):
    """One command: its exit code and all that it said. The password is in none of it, whatever happens."""

    def run(*args: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(args)
        said = "".join(capsys.readouterr())
        assert cluster.password not in said
        return code, said

    return run


@pytest.fixture
def doctor(run):
    """What is not well with the store and its server: found and mend, by check."""

    def doctor() -> dict[str, tuple[str, str]]:
        _, said = run("doctor", "--json")
        findings = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        assert all(one["mend"] for one in findings if one["result"] != "ok")
        mine = {"store", "server", "clock"}
        return {
            one["check"]: (one["found"], one["mend"])
            for one in findings
            if one["check"] in mine and one["result"] != "ok" and "timedatectl timesync" not in one["mend"]
        }

    return doctor


def mend(cluster: Cluster, words: str) -> None:
    """Do what is said between the quotes of `psql -c '…'`, as the server's superuser."""
    statements = [word for flag, word in zip(shlex.split(words), shlex.split(words)[1:], strict=False) if flag == "-c"]
    assert statements, words
    for statement in statements:
        cluster.run(statement.rstrip(","))
    if "restart" in words:
        cluster.restart()


class TestVerbs:
    def test_status_says_where_and_how_it_stands(self, run, store):
        code, said = run("status")

        assert code == 0 and "postgresql://postgres@127.0.0.1:" in said
        assert run("status", "invoice-1")[0] == 0

    @pytest.mark.parametrize(
        "verb",
        ["list", "purge", "cost", "why invoice-1", "pause night", "resume night", "keys list", "tail --help", "doctor",
         "config show", "config check --no-keys", "migrate", "migrate --check", "cancel invoice-1", "search invoice"],
    )  # fmt: skip
    def test_what_is_done_with_a_file_is_done_with_a_server(self, run, store, verb):
        code, said = run(*verb.split())

        assert code in (0, 1 if verb == "doctor" else 0), said
        assert "unexpected" not in said

    def test_migrate_makes_it_and_says_so_once(self, run, empty):
        assert "There is no store at" in run("migrate", "--check")[1]
        assert "is ready" in run("migrate")[1]
        assert "fits" in run("migrate", "--check")[1]

    def test_what_is_not_there_yet_is_named_with_the_next_step(self, run, empty):
        code, said = run("status")

        assert code == 69 and "there is no store at postgresql://postgres@127.0.0.1" in said
        assert "claude-relay serve" in said

    def test_a_store_of_a_newer_version_is_refused(self, run, store, cluster, doctor):
        cluster.run("UPDATE meta SET value = value || '999' WHERE key = 'schema'", url=store)
        try:
            for verb in (("migrate", "--check"), ("migrate",), ("status",)):
                code, said = run(*verb)
                assert code == 78 and "newer version" in said
            assert "newer version" in doctor()["store"][1]
        finally:
            cluster.run("UPDATE meta SET value = replace(value, '999', '') WHERE key = 'schema'", url=store)

    def test_a_backup_is_the_servers_and_the_commands_that_are_named_do_it(self, run, store, cluster, tmp_path):
        """As they are written, but for the password, which the environment has."""
        file = tmp_path / "relay.dump"
        code, said = run("backup", str(file))
        assert code == 78 and "Traceback" not in said
        dump, restore = re.findall(r"(pg_dump .*?') --|(pg_restore .*)$", said.strip())
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        env = {"PATH": f"{binaries}:/usr/bin:/bin", "PGPASSWORD": cluster.password}

        subprocess.run(dump[0], shell=True, check=True, env=env, timeout=60)
        cluster.run("DELETE FROM keys", url=store)
        subprocess.run(restore[1], shell=True, check=True, env=env, timeout=60)

        assert "make" in run("keys", "list")[1]
        assert json.loads(run("status", "--json", "invoice-1")[1])["requestId"] == "invoice-1"
        assert run("restore", "--yes", str(file)) == (78, said)

    @pytest.mark.parametrize(("typed", "offered"), [("status inv", "invoice-1"), ("resume ", "night")])
    def test_tab_knows_ids_and_groups(self, store, typed, offered):
        assert offered in tab(typed)

    def test_tab_is_silent_where_the_server_is_away(self, desk):
        assert tab("status inv", RELAY_STORE="postgresql://relay@127.0.0.1:1/relay") == []


def tab(typed: str, **env: str) -> list[str]:
    words = typed.split(" ")
    asked = {"_CLAUDE_RELAY_COMPLETE": "bash_complete", "COMP_WORDS": f"claude-relay {typed}",
             "COMP_CWORD": str(len(words)), "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "claude_relay"],
        env={**os.environ, **asked, **env}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stderr == ""

    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


class TestDoctor:
    def test_a_server_in_earnest_has_no_fault(self, store, doctor, run):
        assert doctor() == {}
        said = run("doctor")[1]
        assert re.search(r"server.*PostgreSQL \d+.*fsync and full_page_writes on", said)
        assert re.search(r"store.*postgresql://postgres@127\.0\.0\.1:\d+/relay_\d+, at hand", said)

    @pytest.mark.parametrize("name", ["fsync", "full_page_writes", "autovacuum"])
    def test_what_a_power_cut_would_take_is_named_and_mended(self, store, doctor, cluster, name):
        cluster.run(f"ALTER SYSTEM SET {name} = off")
        cluster.run("SELECT pg_reload_conf()")
        found, cure = eventually_found(doctor, "server")

        assert name in found
        mend(cluster, cure)
        eventually_well(doctor)

    def test_a_commit_is_on_disk_whatever_the_server_does_by_default(self, store, doctor, cluster):
        cluster.run("ALTER SYSTEM SET synchronous_commit = off")
        cluster.run("SELECT pg_reload_conf()")
        try:
            assert doctor() == {}
            facts = look(store)
            assert facts.synchronous_commit == "on"
        finally:
            mend(cluster, "-c 'ALTER SYSTEM RESET synchronous_commit' -c 'SELECT pg_reload_conf()'")
        [fault] = postgres._durable(SimpleNamespace(**{**vars(facts), "synchronous_commit": "off"}))
        assert "synchronous_commit" in fault.detail and fault.result == "fail"

    def test_a_standby_takes_no_jobs_until_it_is_promoted(self, monkeypatch, doctor):
        with Cluster() as other:
            (other._data / "standby.signal").touch()
            other.start()
            monkeypatch.setenv("RELAY_STORE", other.url())

            found, cure = doctor()["store"]
            assert "is a standby" in found and "pg_ctl promote" in cure
            other.run("SELECT pg_promote()")
            assert "is a standby" not in doctor().get("store", ("",))[0]

    def test_a_database_that_does_not_hold_every_language_is_made_anew(self, monkeypatch, cluster, doctor):
        cluster.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
        monkeypatch.setenv("RELAY_STORE", cluster.url("latin"))

        found, cure = doctor()["store"]
        assert "LATIN1" in found and "createdb" in cure and "latin_utf8" in cure
        cluster.run("DROP DATABASE latin WITH (FORCE)")

    def test_clocks_that_differ_are_told(self, store, doctor, monkeypatch):
        from claude_relay.storage.postgres import server_info

        for behind, result in ((10, "warn"), (-300, "fail")):
            monkeypatch.setattr(server_info, "time", SimpleNamespace(time=lambda behind=behind: time.time() - behind))
            found, cure = doctor()["clock"]
            assert f"{abs(behind)} s {'ahead of' if behind > 0 else 'behind'}" in found and "timedatectl" in cure
            assert ("signatures" in found) == (result == "fail")

    def test_connections_that_run_out_are_told_before_and_after(self, store, doctor, cluster):
        cluster.run("ALTER SYSTEM SET max_connections = 16")
        cluster.restart()

        found, cure = doctor()["server"]
        assert "connections are left" in found
        mend(cluster, cure)
        assert doctor() == {}

    def test_a_user_that_may_make_no_tables_is_given_the_database(self, cluster, doctor, run, monkeypatch, empty):
        cluster.run("CREATE ROLE nobody LOGIN PASSWORD 'no-body-knows-it'")
        cluster.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", url=empty)
        monkeypatch.setenv("RELAY_STORE", as_user(empty, cluster, "nobody", "no-body-knows-it"))

        found, cure = doctor()["store"]
        assert "nobody may make no tables" in found
        mend(cluster, cure)
        assert "there is none at" in doctor()["store"][0]
        assert run("migrate")[0] == 0
        assert doctor() == {}


class TestTheWayThere:
    """Whatever the server says against a connection comes with what to do about it, and without the password."""

    @pytest.mark.parametrize(
        ("change", "found", "cure"),
        [
            (lambda url, c: as_user(url, c, "stranger"), "password of stranger", "\\password stranger"),
            (lambda url, c: url.replace(c.password, "wrong-one"), "the password of postgres", "\\password postgres"),
            (lambda url, c: re.sub(r"/relay_\d+$", "/other", url), "no database other", "createdb --owner postgres"),
            (lambda url, c: re.sub(r":\d+/", ":1/", url), "no server answers", "systemctl start postgresql"),
            (lambda url, c: url.replace("127.0.0.1", "nowhere.invalid"), "is not known here", "getent hosts nowhere"),
            (lambda url, c: f"{url}?sslmode=require", "TLS", "ssl = on"),
            (lambda url, c: "postgresql:///relay?host=/nowhere", "no server answers", "on this machine"),
        ],
    )  # fmt: skip
    def test_each_refusal_has_its_mend(self, cluster, store, doctor, run, monkeypatch, change, found, cure):
        monkeypatch.setenv("RELAY_STORE", change(store, cluster))

        told, how = doctor()["store"]
        assert found in told and cure in how
        code, said = run("status")
        assert code == 69 and len(said.splitlines()) == 1, said

    def test_a_database_that_is_made_as_it_is_said_will_do(self, cluster, doctor, run, monkeypatch):
        monkeypatch.setenv("RELAY_STORE", cluster.url("fresh"))
        cure = doctor()["store"][1]
        words = re.search(r"createdb --owner (\w+) --encoding (\w+) --template (\w+) (\w+)", cure)
        cluster.run(f"CREATE DATABASE {words[4]} OWNER {words[1]} ENCODING '{words[2]}' TEMPLATE {words[3]}")

        assert run("migrate")[0] == 0
        assert doctor() == {}

    def test_too_many_connections_are_told_as_that(self, cluster, store, doctor, monkeypatch):
        cluster.run("CREATE ROLE busy LOGIN PASSWORD 'busy-as-a-bee' CONNECTION LIMIT 0")
        monkeypatch.setenv("RELAY_STORE", as_user(store, cluster, "busy", "busy-as-a-bee"))

        found, cure = doctor()["store"]
        assert "no connection left" in found and "max_connections" in cure

    def test_without_the_driver_the_cure_is_one_command(self, store, run, doctor, monkeypatch):
        monkeypatch.setitem(sys.modules, "claude_relay.storage.postgres", None)

        for verb in (("status",), ("config", "check", "--no-keys"), ("migrate", "--check")):
            code, said = run(*verb)
            assert code == 78 and "pip install 'claude-relay[postgres]'" in said
        assert "pip install" in doctor()["store"][1]

    @pytest.mark.parametrize("daemon", ["serve", "worker"])
    def test_a_daemon_says_once_that_the_server_is_away(self, daemon, tmp_path, store, cluster):
        """systemd starts it again: 69 is not 78."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT),
            "API_SECRET_KEY": "k" * 20,
            "RELAY_PROVIDER": "sandbox",
            "LOG_LEVEL": "debug",
            "RELAY_STORE": re.sub(r":\d+/", ":1/", store),
        }
        done = subprocess.run(
            [sys.executable, "-m", "claude_relay", daemon], env=env, cwd=tmp_path, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip

        said = done.stdout + done.stderr
        assert done.returncode == 69, said
        assert "out of reach" in said and "Traceback" not in said and cluster.password not in said


class TestUnderSystemd:
    """The drop-ins, and that the daemons and this command mean one store."""

    @pytest.fixture
    def machine(self, tmp_path) -> System:
        for folder in ("booted", "units", "etc/credentials"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "units" / "claude-relay-worker.service").touch()
        return System(
            etc=tmp_path / "etc", booted=tmp_path / "booted", unit_folders=(tmp_path / "units",), environ=(),
            run=lambda command: "PrivateNetwork=yes\nRestrictAddressFamilies=AF_UNIX\n",
        )  # fmt: skip

    def test_a_server_over_the_network_needs_the_drop_in_for_it(self, machine):
        [fault] = postgres.units(load({"RELAY_STORE": "postgresql://u@db/relay"}, dotenv=None, etc=None), machine)
        assert "the API's unit has none" in fault.detail and "make install POSTGRES=tcp" in fault.fix

        local = load({"RELAY_STORE": "postgresql://u@/relay?host=/run/postgresql"}, dotenv=None, etc=None)
        assert list(postgres.units(local, machine)) == []

    def test_a_credential_that_this_command_does_not_use_is_told(self, machine, tmp_path):
        secret = machine.credentials / "RELAY_STORE"
        secret.write_text("postgresql://u:secret-of-the-store@/relay?host=/run/postgresql")
        other = load({"RELAY_STORE": "postgresql://u@/other?host=/run/postgresql"}, dotenv=None, etc=None)

        [fault] = postgres.units(other, machine)
        assert "two stores" in fault.detail and f"RELAY_STORE_FILE={secret}" in fault.fix
        machine.env_file.write_text(f"RELAY_STORE_FILE={secret}\n")
        assert list(postgres.units(load({}, dotenv=None, etc=machine.env_file), machine)) == []


def test_jobs_that_wait_in_the_store_before_are_not_forgotten(filled, tmp_path):
    machine = System(etc=tmp_path / "etc", dotenv=tmp_path / ".env", booted=tmp_path / "none", environ=())
    settings = load({"RELAY_STORE": filled, "STATE_DIRECTORY": str(tmp_path)}, dotenv=None, etc=None)
    assert list(postgres.left_behind(settings, machine)) == []

    before = load({"RELAY_STORE": str(tmp_path / "relay.db")}, dotenv=None, etc=None)
    with wiring.open_relay(before, create=True) as relay:
        relay.submit(a_submission("r-1", webhook_url=None))
        [fault] = postgres.left_behind(settings, machine)
        assert "1 jobs and callbacks wait in" in fault.detail and "RELAY_STORE=sqlite:///" in fault.fix
        relay.cancel(JobRef(request_id="r-1"))

    assert list(postgres.left_behind(settings, machine)) == []


def look(url: str):
    from claude_relay.storage.postgres.server_info import inspect

    return inspect(url, "there")


def as_user(url: str, cluster: Cluster, user: str, password: str = "whatever-it-is") -> str:
    return url.replace(f"postgres:{cluster.password}", f"{user}:{password}")


def eventually_found(doctor, check: str) -> tuple[str, str]:
    from tests.support.eventually import eventually

    return eventually(lambda: doctor().get(check), within=20)


def eventually_well(doctor) -> None:
    from tests.support.eventually import eventually

    eventually(lambda: doctor() == {}, within=20)
