"""Fixtures and rules for every test."""

from __future__ import annotations

import os
import random
from collections.abc import Generator, Iterator
from typing import Any

import hypothesis.core
import pytest

from claude_relay.config import OPTIONS
from tests.support import needs, proof
from tests.support.postgres import Cluster

# The same examples in every run, and no limit on the time of one: a busy machine makes no test fail.
hypothesis.settings.register_profile("tests", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("proof", derandomize=False, database=None, deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")

SETTINGS = {name for row in OPTIONS for name in (row.name, *row.aliases)}


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    """Remove the settings of the shell that runs the tests."""
    for name in [name for name in os.environ if name.startswith("RELAY_") or name.removesuffix("_FILE") in SETTINGS]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A running PostgreSQL, started for the first test that asks for it."""
    with Cluster() as cluster:
        yield cluster.start()


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    """An empty database of its own."""
    url = postgres.database()
    yield url
    postgres.drop(url)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sqlite-only", action="store_true", help="leave out every test that starts a PostgreSQL")
    parser.addoption("--proof", action="store_true", help="run seeded tests at length, each time with another seed")
    parser.addoption("--keep-stores", metavar="FOLDER", help="large stores of a --proof, which are used again")
    parser.addoption("--proof-seed", type=int, metavar="N", help="the seed of an earlier --proof")


def pytest_configure(config: pytest.Config) -> None:
    """Set the usual umask, and pass the seed of a proof on to every test process and tests/support/proof.py."""
    os.umask(0o022)  # tests compare the modes of files, whatever the umask of the account is
    if config.getoption("--proof") or config.getoption("--proof-seed") is not None:
        if config.getoption("--proof-seed") is not None:
            os.environ[proof.SEED] = str(config.getoption("--proof-seed"))
        seed = int(os.environ.setdefault(proof.SEED, str(random.SystemRandom().randrange(1_000_000))))
        hypothesis.settings.load_profile("proof")
        hypothesis.core.global_force_seed = seed  # as --hypothesis-seed does


def pytest_report_header() -> str | None:
    """The seed that repeats a proof."""
    return f"proof: repeat with --proof-seed {os.environ[proof.SEED]}" if proof.SEED in os.environ else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the box with a systemd first: it takes longest, and the others fill the time beside it."""
    items.sort(key=lambda item: item.path.parent.name != "systemd")
    if config.getoption("--sqlite-only"):
        on_postgres = [item for item in items if _starts_postgres(item)]
        config.hook.pytest_deselected(items=on_postgres)
        items[:] = [item for item in items if item not in set(on_postgres)]


def _starts_postgres(item: pytest.Item) -> bool:
    if {"postgres", "cluster", "database"} & set(getattr(item, "fixturenames", ())):
        return True
    if item.path.name in ("test_postgres.py", "test_server_store.py"):
        return True

    return "postgres" in item.name.partition("[")[2].rstrip("]").split("-")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """
    Give complete files to each of several test processes, and to one of them all files that share the box.

    Not by `--dist loadgroup`: xdist 3.8 writes the group into a test's id, which pytest since 9.2 keeps as it was.
    """
    from xdist.scheduler import LoadScopeScheduling

    class FileScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::", 1)[0]
            return "box" if path.startswith("tests/systemd/") else path

    return FileScheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test in CI; replace lone surrogates, which do not travel between test processes."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    if report.skipped and needs.in_ci() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {_reason(report)}"

    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count and name in one line what was skipped."""
    if line := needs.summary(map(_reason, terminalreporter.stats.get("skipped", ()))):
        terminalreporter.write_line(line, yellow=True)


def _reason(report: Any) -> str:
    """The reason of a skipped report, which pytest keeps as (path, line, reason)."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    return str(reason).removeprefix("Skipped: ")
