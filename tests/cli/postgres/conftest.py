"""Fixtures for the command line on a store in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from claude_relay import wiring
from claude_relay.cli.main import main
from claude_relay.config import load
from claude_relay.core.keys import Scope
from tests.support.builders import a_submission
from tests.support.postgres import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A real server that syncs, as in production."""
    with Cluster(durable=True) as cluster:
        yield cluster.start()


@pytest.fixture(scope="module")
def filled(cluster: Cluster) -> str:
    """The URL of a database with a store, a job and a key."""
    url = cluster.database()
    with wiring.open_relay(load({"RELAY_STORE": url}, dotenv=None, etc=None), create=True) as relay:
        relay.submit(a_submission("invoice-1", group="night"))
        relay.keys.add("make", frozenset({Scope.SUBMIT}))
    return url


@pytest.fixture
def workstation(tmp_path, monkeypatch) -> None:
    """An empty current folder, and no colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def store(filled, workstation, monkeypatch) -> str:
    """The filled store, set in RELAY_STORE."""
    monkeypatch.setenv("RELAY_STORE", filled)
    return filled


@pytest.fixture
def empty(cluster, workstation, monkeypatch) -> Iterator[str]:
    """An empty database for one test, set in RELAY_STORE."""
    url = cluster.database()
    monkeypatch.setenv("RELAY_STORE", url)
    yield url
    cluster.drop(url)


@pytest.fixture
def run(workstation, cluster, capsys) -> Callable[..., tuple[int, str]]:
    """Run one command: its exit code and its output, which never contains the password."""

    def run(*args: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(args)
        output = "".join(capsys.readouterr())
        assert cluster.password not in output
        return code, output

    return run


@pytest.fixture
def doctor(run) -> Callable[[], dict[str, tuple[str, str]]]:
    """Run the doctor: the faults of the store and its server as (detail, fix), by check."""

    def doctor() -> dict[str, tuple[str, str]]:
        _, output = run("doctor", "--json")
        findings = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        assert all(item["mend"] for item in findings if item["result"] != "ok")
        checks = {"store", "server", "clock"}
        return {
            item["check"]: (item["found"], item["mend"])
            for item in findings
            if item["check"] in checks and item["result"] != "ok" and "timedatectl timesync" not in item["mend"]
        }

    return doctor
