"""The verbs on a store in PostgreSQL: every one works, or names the command to use instead."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_status_shows_the_url_of_the_store(run, store):
    code, output = run("status")

    assert code == 0 and "postgresql://postgres@127.0.0.1:" in output
    assert "invoice-1" in run("status", "invoice-1")[1]


@pytest.mark.parametrize(
    "verb",
    ["list", "purge", "cost", "why invoice-1", "pause night", "resume night", "keys list", "tail --help", "doctor",
     "config show", "config check --no-keys", "migrate", "migrate --check", "cancel invoice-1", "search invoice"],
)  # fmt: skip
def test_a_verb_for_a_file_works_on_a_server_too(run, store, verb):
    code, output = run(*verb.split())

    assert code in (0, 1 if verb == "doctor" else 0), output
    assert "unexpected" not in output


def test_migrate_creates_the_store(run, empty):
    assert "There is no store at" in run("migrate", "--check")[1]
    assert "is ready" in run("migrate")[1]
    assert "has the current schema" in run("migrate", "--check")[1]


def test_a_missing_store_is_reported_with_the_next_step(run, empty):
    code, output = run("status")

    assert code == 69 and "there is no store at postgresql://postgres@127.0.0.1" in output
    assert "claude-relay serve" in output


def test_a_store_of_a_newer_version_is_refused(run, store, cluster, doctor):
    cluster.run("UPDATE meta SET value = value || '999' WHERE key = 'schema'", url=store)
    try:
        for verb in (("migrate", "--check"), ("migrate",), ("status",)):
            code, output = run(*verb)
            assert code == 78 and "newer version" in output
        assert "newer version" in doctor()["store"][1]
    finally:
        cluster.run("UPDATE meta SET value = replace(value, '999', '') WHERE key = 'schema'", url=store)


def test_the_printed_backup_commands_of_the_server_work(run, store, cluster, tmp_path):
    """They run as printed; the password comes from the environment."""
    file = tmp_path / "relay.dump"
    code, output = run("backup", str(file))
    assert code == 78 and "Traceback" not in output
    dump, restore = re.findall(r"(pg_dump .*?') --|(pg_restore .*)$", output.strip())
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    env = {"PATH": f"{binaries}:/usr/bin:/bin", "PGPASSWORD": cluster.password}

    subprocess.run(dump[0], shell=True, check=True, env=env, timeout=200)
    cluster.run("DELETE FROM keys", url=store)
    subprocess.run(restore[1], shell=True, check=True, env=env, timeout=200)

    assert "make" in run("keys", "list")[1]
    assert json.loads(run("status", "--json", "invoice-1")[1])["requestId"] == "invoice-1"

    code, output = run("restore", "--yes", str(file))
    assert code == 78 and restore[1] in output
    assert "pg_dump" not in output  # which would overwrite the backup


def test_a_backup_of_a_file_is_not_taken_for_one_of_the_server(run, store, tmp_path):
    file = tmp_path / "relay of may.db"
    file.write_bytes(b"SQLite format 3\x00" + bytes(100))
    code, output = run("restore", "--yes", str(file))

    assert code == 78 and "is the backup of a SQLite store" in output and f"restore '{file}'" in output


@pytest.mark.parametrize(("typed", "offered"), [("status inv", "invoice-1"), ("resume ", "night")])
def test_completion_offers_ids_and_groups(store, typed, offered):
    assert offered in complete(typed)


def test_completion_offers_nothing_without_the_server(workstation):
    assert complete("status inv", RELAY_STORE="postgresql://relay@127.0.0.1:1/relay") == []


@pytest.mark.parametrize("daemon", ["serve", "worker"])
def test_a_daemon_reports_an_unreachable_server_in_one_line(daemon, tmp_path, store, cluster):
    """systemd restarts it: 69 is not 78."""
    code, output = start(daemon, re.sub(r":\d+/", ":1/", store), tmp_path)

    assert code == 69, output
    assert "out of reach" in output and "Traceback" not in output and cluster.password not in output


@pytest.mark.parametrize("daemon", ["serve", "worker"])
def test_a_daemon_with_a_wrong_password_ends_for_good(daemon, tmp_path, store, cluster):
    """systemd does not restart it, and the fix is in the line."""
    code, output = start(daemon, store.replace(cluster.password, "wrong-s3cret"), tmp_path)

    assert code == 78, output
    assert "refuses the connection" in output and "RELAY_STORE" in output
    assert "Traceback" not in output and "wrong-s3cret" not in output


@pytest.mark.parametrize("daemon", ["serve", "worker"])
def test_a_daemon_waits_for_a_store_that_is_read_only(daemon, tmp_path, store, cluster):
    """Exit 69, after which systemd starts it again, and the sentence with the fix."""
    name = store.rpartition("/")[2]
    cluster.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        code, output = start(daemon, store, tmp_path)
    finally:
        cluster.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")

    assert code == 69, output
    assert "accepts no writes now" in output and "started" not in output and "Traceback" not in output
    assert 'ALTER DATABASE "…" RESET default_transaction_read_only' in output


def start(daemon, store, tmp_path):
    """The exit code and the output of a daemon that cannot start."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "API_SECRET_KEY": "k" * 20,
        "RELAY_PROVIDER": "sandbox",
        "LOG_LEVEL": "debug",
        "RELAY_STORE": store,
    }
    done = subprocess.run(
        [sys.executable, "-m", "claude_relay", daemon], env=env, cwd=tmp_path, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip

    return done.returncode, done.stdout + done.stderr


def complete(typed: str, **env: str) -> list[str]:
    words = typed.split(" ")
    request = {"_CLAUDE_RELAY_COMPLETE": "bash_complete", "COMP_WORDS": f"claude-relay {typed}",
             "COMP_CWORD": str(len(words)), "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "claude_relay"],
        env={**os.environ, **request, **env}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.stderr == ""

    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]
