"""Servers that cannot be the store, as operators meet them: the sentence names the fix, and no job fails."""

from __future__ import annotations

import base64
import random
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.config import load
from claude_relay.errors import StoreRefused, StoreUnavailable
from claude_relay.services import JobRef
from claude_relay.storage.postgres import PostgresStore
from claude_relay.storage.postgres import schema as postgres_schema
from claude_relay.wiring import open_relay
from tests.support.builders import a_submission
from tests.support.eventually import eventually
from tests.support.needs import lacks
from tests.support.postgres import Cluster


def as_user(cluster: Cluster, url: str, name: str) -> str:
    cluster.run(f"DROP ROLE IF EXISTS {name}")
    cluster.run(f"CREATE ROLE {name} LOGIN PASSWORD 'pass-of-{name}'")
    return url.replace(f"postgres:{cluster.password}", f"{name}:pass-of-{name}")


def type_fix(cluster: Cluster, url: str, fix: str) -> None:
    """Run the statement of `psql -d NAME -c STATEMENT`, in that database."""
    words = shlex.split(fix)
    assert words[words.index("-d") + 1] == url.rpartition("/")[2]
    cluster.run(words[words.index("-c") + 1].removesuffix(","), url=url)


@pytest.mark.parametrize("owned_by", ["a superuser", "another role"])
@pytest.mark.parametrize("rights", ["none", "to read"])
def test_the_grant_that_is_missing_is_named_and_works_when_typed(
    run, doctor, empty, cluster, monkeypatch, owned_by, rights
):
    """A role that may only read started a daemon whose submits all failed."""
    owner = empty if owned_by == "a superuser" else as_user(cluster, empty, "boss")
    if owner != empty:
        cluster.run(f"ALTER DATABASE {empty.rpartition('/')[2]} OWNER TO boss")
    PostgresStore(owner, where="the store").close()
    app = as_user(cluster, empty, "app")
    if rights == "to read":
        cluster.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO app", url=empty)
    monkeypatch.setenv("RELAY_STORE", app)
    for name in ("API_SECRET_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "k" * 30)

    with pytest.raises(StoreRefused, match=r"lacks rights there.*: GRANT") as refused:
        PostgresStore(app, where="the store")
    code, output = run("config", "check")
    detail, fix = doctor()["store"]

    assert code == 78 and str(refused.value).partition("superuser")[2] in output
    assert "app lacks rights on the tables" in detail
    type_fix(cluster, empty, fix)
    assert doctor() == {}
    code, output = run("config", "check")
    assert code == 0 and "The settings are good" in output
    assert run("submit", "hi", "--id", "r-1")[0] == 0
    monkeypatch.setenv("RELAY_STORE", empty)
    cluster.run("REASSIGN OWNED BY app TO postgres; DROP OWNED BY app", url=empty)


def test_config_check_says_that_the_server_is_away_and_is_not_stopped_by_it(run, store, monkeypatch):
    for name in ("API_SECRET_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "k" * 30)
    monkeypatch.setenv("RELAY_STORE", re.sub(r":\d+/", ":1/", store))
    code, output = run("config", "check")

    assert code == 0 and "is out of reach" in output and "daemons wait for it" in output


def test_an_older_schema_is_migrated_by_a_daemon_and_refused_by_the_version_before(store, monkeypatch):
    """A table of the next version, made by the first daemon of it that starts."""
    from claude_relay.storage import migrate

    step = migrate.Step(number=2, name="later", sql="CREATE TABLE later (id INTEGER)")
    steps = migrate.steps
    monkeypatch.setattr(migrate, "steps", lambda engine: [*steps(engine), step])
    monkeypatch.setattr(migrate, "latest", lambda engine: 2)
    try:
        upgraded = PostgresStore(store, where="the store")
        assert upgraded.read(lambda tx: tx._run("SELECT count(*) FROM later", ())) == [(0,)]
        upgraded.close()
        monkeypatch.undo()
        with pytest.raises(StoreRefused, match="has schema 2; this version of claude-relay knows up to 1"):
            PostgresStore(store, where="the store")
    finally:
        reset_schema(store)


def reset_schema(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS later")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")


def test_a_server_that_is_too_old_is_refused(run, doctor, store, monkeypatch):
    monkeypatch.setattr(postgres_schema, "_OLDEST", 990_000)

    with pytest.raises(StoreRefused, match="13 or newer is required"):
        PostgresStore(store, where="the store")


def test_a_real_standby_is_read_from_and_takes_over_when_it_is_promoted(run, doctor, empty, cluster, monkeypatch):
    """Streaming replication: what was accepted by the primary is on the standby, which says what it is until then."""
    settings = load({"RELAY_STORE": empty}, dotenv=None, etc=None)
    name = empty.rpartition("/")[2]
    with open_relay(settings, create=True) as relay, Cluster(primary=cluster) as standby:
        relay.submit(a_submission("early", webhook_url=None))
        standby.start()
        url = standby.url(name)
        relay.submit(a_submission("late", webhook_url=None))
        monkeypatch.setenv("RELAY_STORE", url)
        eventually(lambda: run("status", "late")[0] in (0, 75))
        with pytest.raises(StoreUnavailable, match="accepts no writes now: it is a standby"):
            PostgresStore(url, where="the store")
        code, output = run("submit", "hi", "--id", "refused")
        detail, fix = doctor()["store"]
        both = f"{url},127.0.0.1:{cluster.port}".replace(f"/{name}", "", 1) + f"/{name}?target_session_attrs=read-write"
        PostgresStore(both, where="both").close()
        standby.run("SELECT pg_promote()")
        promoted = PostgresStore(url, where="the store")
        found = promoted.read(lambda tx: [job.request_id for job in tx.find("late", None)])
        promoted.close()

    assert code == 69 and "Name the primary in RELAY_STORE" in output
    assert "is a standby: it accepts no writes" in detail and "target_session_attrs=read-write" in fix
    assert found == ["late"]


@pytest.fixture
def small_space(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """A database whose tables are on a file system of 24 MiB."""
    disk = Path(cluster.folder) / "small"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        lacks("a small disk can only be mounted as root")
    cluster.own(disk)
    cluster.run(f"CREATE TABLESPACE small LOCATION '{disk}'")
    cluster.run("CREATE DATABASE small TABLESPACE small TEMPLATE template0 ENCODING 'UTF8'")
    yield cluster.url("small")
    cluster.run("DROP DATABASE small WITH (FORCE)")
    cluster.run("DROP TABLESPACE small")
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_of_the_server_refuses_jobs_and_loses_none(small_space, cluster):
    """Every submit that was answered is there; with room again the next one is taken, and all run."""
    settings = load({"RELAY_STORE": small_space}, dotenv=None, etc=None)
    with open_relay(settings, create=True) as relay:
        kept, rng = [], random.Random(1)
        with pytest.raises(StoreUnavailable, match="the disk of the store's server is full: make room there"):
            for number in range(200):
                text = base64.b64encode(rng.randbytes(150_000)).decode()  # which the server cannot compress
                relay.submit(a_submission(f"r-{number}", request={"prompt": text}, webhook_url=None))
                kept.append(f"r-{number}")
        subprocess.run(["mount", "-o", "remount,size=64m", str(Path(cluster.folder) / "small")], check=True)
        states = [relay.queries.status(JobRef(request_id=name))["status"] for name in kept]
        relay.submit(a_submission("again", webhook_url=None))
        claimed = relay.execution.claim("w", limit=len(kept) + 1)

    assert kept and set(states) == {"pending"}
    assert len(claimed) == len(kept) + 1
