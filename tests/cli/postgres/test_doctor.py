"""The doctor on a store in PostgreSQL: connection, durability, version, clock and units, each fault with its fix."""

from __future__ import annotations

import re
import shlex
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import psycopg
import pytest

from claude_relay import wiring
from claude_relay.cli.doctor import postgres
from claude_relay.cli.doctor.system import System
from claude_relay.config import load
from claude_relay.errors import StoreUnavailable
from claude_relay.services import JobRef
from claude_relay.storage.postgres import PostgresStore, server_info
from claude_relay.storage.postgres.server_info import inspect
from tests.support.builders import a_submission
from tests.support.eventually import eventually
from tests.support.postgres import Cluster


def apply_fix(cluster: Cluster, fix: str) -> None:
    """Run the statements of `psql -c '…'` in a fix, as the server's superuser."""
    statements = [word for flag, word in zip(shlex.split(fix), shlex.split(fix)[1:], strict=False) if flag == "-c"]
    assert statements, fix
    for statement in statements:
        cluster.run(statement.rstrip(","))
    if "restart" in fix:
        cluster.restart()


class TestDoctor:
    def test_a_server_for_production_has_no_fault(self, store, doctor, run):
        assert doctor() == {}
        output = run("doctor")[1]
        assert re.search(r"server.*PostgreSQL \d+.*fsync and full_page_writes on", output)
        assert re.search(r"store.*postgresql://postgres@127\.0\.0\.1:\d+/relay_\d+, reachable", output)

    @pytest.mark.parametrize("name", ["fsync", "full_page_writes", "autovacuum"])
    def test_a_setting_that_risks_data_is_reported_and_fixed(self, store, doctor, cluster, name):
        cluster.run(f"ALTER SYSTEM SET {name} = off")
        cluster.run("SELECT pg_reload_conf()")
        detail, fix = eventually_fault(doctor, "server")

        assert name in detail
        apply_fix(cluster, fix)
        eventually_none(doctor)

    def test_synchronous_commit_is_on_whatever_the_default_of_the_server(self, store, doctor, cluster):
        cluster.run("ALTER SYSTEM SET synchronous_commit = off")
        cluster.run("SELECT pg_reload_conf()")
        try:
            assert doctor() == {}
            info = inspect(store, "the store")
            assert info.synchronous_commit == "on"
        finally:
            apply_fix(cluster, "-c 'ALTER SYSTEM RESET synchronous_commit' -c 'SELECT pg_reload_conf()'")
        [fault] = postgres._durability(SimpleNamespace(**{**vars(info), "synchronous_commit": "off"}))
        assert "synchronous_commit" in fault.detail and fault.result == "fail"

    def test_a_standby_is_a_fault_until_it_is_promoted(self, monkeypatch, doctor):
        with Cluster() as other:
            (other._data / "standby.signal").touch()
            other.start()
            monkeypatch.setenv("RELAY_STORE", other.url())

            detail, fix = doctor()["store"]
            assert "is a standby" in detail and "pg_ctl promote" in fix
            other.run("SELECT pg_promote()")
            assert "is a standby" not in doctor().get("store", ("",))[0]

    def test_a_standby_with_a_store_is_waited_for_by_a_daemon(self):
        with Cluster() as other:
            other.start()
            PostgresStore(other.url(), where="the store").close()
            other.stop()
            (other._data / "standby.signal").touch()
            other.start()

            with pytest.raises(StoreUnavailable, match="accepts no writes now: it is a standby"):
                PostgresStore(other.url(), where="the store")
            reader = PostgresStore(other.url(), where="the store", create=False)
            with pytest.raises(StoreUnavailable, match="accepts no writes now: it is a standby"):
                reader.write(lambda tx: tx.set_shared_value("a", 1))
            reader.close()

    def test_a_database_that_was_set_to_read_only(self, store, doctor, cluster):
        name = store.rpartition("/")[2]
        cluster.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        detail, fix = doctor()["store"]

        assert "set to read only" in detail
        apply_fix(cluster, fix)
        eventually_none(doctor)

    def test_a_database_that_does_not_cover_all_languages(self, monkeypatch, cluster, doctor):
        cluster.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
        monkeypatch.setenv("RELAY_STORE", cluster.url("latin"))

        detail, fix = doctor()["store"]
        assert "LATIN1" in detail and "createdb" in fix and "latin_utf8" in fix
        cluster.run("DROP DATABASE latin WITH (FORCE)")

    def test_clocks_that_differ(self, store, doctor, monkeypatch):
        for behind, result in ((10, "warn"), (-300, "fail")):
            monkeypatch.setattr(server_info, "time", SimpleNamespace(time=lambda behind=behind: time.time() - behind))
            detail, fix = doctor()["clock"]
            assert f"{abs(behind)} s {'ahead of' if behind > 0 else 'behind'}" in detail and "timedatectl" in fix
            assert ("signatures" in detail) == (result == "fail")

    def test_connections_that_run_out(self, store, doctor, cluster):
        cluster.run("ALTER SYSTEM SET max_connections = 16")
        cluster.restart()

        detail, fix = doctor()["server"]
        assert "connections are left" in detail
        apply_fix(cluster, fix)
        assert doctor() == {}

    def test_a_user_that_may_not_create_tables(self, cluster, doctor, run, monkeypatch, empty):
        cluster.run("CREATE ROLE nobody LOGIN PASSWORD 'no-body-knows-it'")
        cluster.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", url=empty)
        monkeypatch.setenv("RELAY_STORE", as_user(empty, cluster, "nobody", "no-body-knows-it"))

        detail, fix = doctor()["store"]
        assert "nobody may not create tables" in detail
        apply_fix(cluster, fix)
        assert "there is none at" in doctor()["store"][0]
        assert run("migrate")[0] == 0
        assert doctor() == {}


class TestConnection:
    """Every connection error is reported with its fix, and without the password."""

    @pytest.mark.parametrize(
        ("change", "description", "expected_fix"),
        [
            (lambda url, c: as_user(url, c, "stranger"), "password of stranger", "\\password stranger"),
            (lambda url, c: url.replace(c.password, "wrong-one"), "the password of postgres", "\\password postgres"),
            (lambda url, c: re.sub(r"/relay_\d+$", "/other", url), "no database other", "createdb --owner postgres"),
            (lambda url, c: re.sub(r":\d+/", ":1/", url), "no server answers", "systemctl start postgresql"),
            (lambda url, c: url.replace("127.0.0.1", "nowhere.invalid"), "cannot be resolved", "getent hosts nowhere"),
            (lambda url, c: f"{url}?sslmode=require", "TLS", "ssl = on"),
            (lambda url, c: "postgresql:///relay?host=/nowhere", "no server answers", "on this machine"),
        ],
    )  # fmt: skip
    def test_each_connection_error_has_its_fix(
        self, cluster, store, doctor, run, monkeypatch, change, description, expected_fix
    ):
        monkeypatch.setenv("RELAY_STORE", change(store, cluster))

        detail, fix = doctor()["store"]
        assert description in detail and expected_fix in fix
        code, output = run("status")
        assert code == (78 if "refuses the connection" in output else 69) and len(output.splitlines()) == 1, output

    def test_a_database_created_by_the_fix_works(self, cluster, doctor, run, monkeypatch):
        monkeypatch.setenv("RELAY_STORE", cluster.url("fresh"))
        fix = doctor()["store"][1]
        match = re.search(r"createdb --owner (\w+) --encoding (\w+) --template (\w+) (\w+)", fix)
        cluster.run(f"CREATE DATABASE {match[4]} OWNER {match[1]} ENCODING '{match[2]}' TEMPLATE {match[3]}")

        assert run("migrate")[0] == 0
        assert doctor() == {}

    def test_too_many_connections(self, cluster, store, doctor, monkeypatch):
        cluster.run("CREATE ROLE busy LOGIN PASSWORD 'busy-as-a-bee' CONNECTION LIMIT 0")
        monkeypatch.setenv("RELAY_STORE", as_user(store, cluster, "busy", "busy-as-a-bee"))

        detail, fix = doctor()["store"]
        assert "no connection left" in detail and "max_connections" in fix

    def test_without_the_driver_the_fix_is_one_command(self, store, run, doctor, monkeypatch):
        monkeypatch.setitem(sys.modules, "claude_relay.storage.postgres", None)

        for verb in (("status",), ("config", "check", "--no-keys"), ("migrate", "--check")):
            code, output = run(*verb)
            assert code == 78 and "pip install 'claude-relay[postgres]'" in output
        assert "pip install" in doctor()["store"][1]


class TestUnderSystemd:
    """The drop-ins of the units, and the store of the daemons."""

    @pytest.fixture
    def system(self, tmp_path) -> System:
        for folder in ("booted", "units", "etc/credentials"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "units" / "claude-relay-worker.service").touch()
        return System(
            etc=tmp_path / "etc", booted=tmp_path / "booted", unit_folders=(tmp_path / "units",), environ=(),
            run=lambda command: "PrivateNetwork=yes\nRestrictAddressFamilies=AF_UNIX\n",
        )  # fmt: skip

    def test_a_remote_server_needs_the_network_drop_in(self, system):
        [fault] = postgres.units(load({"RELAY_STORE": "postgresql://u@db/relay"}, dotenv=None, etc=None), system)
        assert "the API's unit has no network access" in fault.detail and "make install POSTGRES=tcp" in fault.fix

        local = load({"RELAY_STORE": "postgresql://u@/relay?host=/run/postgresql"}, dotenv=None, etc=None)
        assert list(postgres.units(local, system)) == []

    def test_a_credential_that_this_command_does_not_use_is_reported(self, system, tmp_path):
        secret = system.credentials / "RELAY_STORE"
        secret.write_text("postgresql://u:secret-of-the-store@/relay?host=/run/postgresql")
        other = load({"RELAY_STORE": "postgresql://u@/other?host=/run/postgresql"}, dotenv=None, etc=None)

        [fault] = postgres.units(other, system)
        assert "two stores" in fault.detail and f"RELAY_STORE_FILE={secret}" in fault.fix
        system.env_file.write_text(f"RELAY_STORE_FILE={secret}\n")
        assert list(postgres.units(load({}, dotenv=None, etc=system.env_file), system)) == []


def test_unfinished_jobs_in_the_previous_store_are_reported(filled, tmp_path):
    system = System(etc=tmp_path / "etc", dotenv=tmp_path / ".env", booted=tmp_path / "none", environ=())
    settings = load({"RELAY_STORE": filled, "STATE_DIRECTORY": str(tmp_path)}, dotenv=None, etc=None)
    assert list(postgres.left_behind(settings, system)) == []

    previous = load({"RELAY_STORE": str(tmp_path / "relay.db")}, dotenv=None, etc=None)
    with wiring.open_relay(previous, create=True) as relay:
        relay.submit(a_submission("r-1", webhook_url=None))
        [fault] = postgres.left_behind(settings, system)
        assert "1 jobs and callbacks wait in" in fault.detail and "RELAY_STORE=sqlite:///" in fault.fix
        relay.cancel(JobRef(request_id="r-1"))

    assert list(postgres.left_behind(settings, system)) == []


def test_a_daemon_names_the_faults_of_its_server_at_the_start(filled, tmp_path, monkeypatch):
    """Durability, standby, connections, an old snapshot, missing notifications, and work left in the previous store."""
    settings = load({"RELAY_STORE": filled, "STATE_DIRECTORY": str(tmp_path)}, dotenv=None, etc=None)
    engine = wiring.engine_of(settings)
    assert engine.warnings() == []

    previous = load({"RELAY_STORE": str(tmp_path / "relay.db")}, dotenv=None, etc=None)
    with wiring.open_relay(previous, create=True) as relay:
        relay.submit(a_submission("r-1", webhook_url=None))
    bad = replace(
        inspect(filled, "the store"), fsync=False, standby=True, connections=90, most=97, oldest_snapshot=400.0,
        ahead=-3600.0,
    )  # fmt: skip
    monkeypatch.setattr(server_info, "inspect", lambda url, where: bad)
    monkeypatch.setattr(server_info, "receives_notifications", lambda url: False)
    left, durable, standby, connections, clock, snapshot, silent = engine.warnings()

    assert "1 jobs and callbacks wait in" in left and "RELAY_STORE=sqlite:///" in left
    assert "fsync off" in durable and "standby" in standby and "7 of 97 connections" in connections
    assert "3600 s behind this machine's" in clock and "timedatectl set-ntp true" in clock
    assert "open for 6 minutes" in snapshot and "notifications do not arrive" in silent


def test_a_snapshot_that_was_left_open_is_reported(filled, cluster, monkeypatch):
    """Replaced rows stay for as long, and every look at the queue is slower."""
    monkeypatch.setattr(server_info, "OLD_SNAPSHOT", 0.0)
    with psycopg.connect(filled) as other:
        other.execute("SELECT count(*) FROM jobs")
        other.execute("DECLARE held CURSOR FOR SELECT * FROM jobs")
        info = inspect(filled, "the store")
        [fault] = postgres._snapshots(info)
    monkeypatch.setattr(server_info, "OLD_SNAPSHOT", 180.0)

    assert info.oldest_snapshot > 0 and "transaction on the server has been open" in fault.detail
    assert "pg_terminate_backend" in fault.fix
    assert list(postgres._snapshots(inspect(filled, "the store"))) == []


def test_notifications_that_do_not_arrive_are_noticed(filled, monkeypatch):
    """As behind a pooler in transaction mode, which gives LISTEN to a connection that is not ours afterwards."""
    assert server_info.receives_notifications(filled)
    monkeypatch.setattr(server_info, "_PROBE_TIMEOUT", 0.2)
    monkeypatch.setattr(server_info, "_LISTEN", "SELECT '{}'")

    assert not server_info.receives_notifications(filled)


def as_user(url: str, cluster: Cluster, user: str, password: str = "whatever-it-is") -> str:
    return url.replace(f"postgres:{cluster.password}", f"{user}:{password}")


def eventually_fault(doctor, check: str) -> tuple[str, str]:
    return eventually(lambda: doctor().get(check), within=60)


def eventually_none(doctor) -> None:
    eventually(lambda: doctor() == {}, within=60)
