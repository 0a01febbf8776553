"""What every test may lean on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from claude_relay.config import OPTIONS
from tests.support.postgres import Cluster

OURS = {name for row in OPTIONS for name in (row.name, *row.aliases)}


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch):
    """No test reads the settings of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("RELAY_") or name.removesuffix("_FILE") in OURS]:
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The box with a systemd comes first: it takes longest, and the others fill the time beside it."""
    items.sort(key=lambda item: item.path.parent.name != "systemd")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """
    Of several test processes each takes whole files, and one all those that share the box.

    Not by `--dist loadgroup`: xdist 3.8 writes the group into a test's id, which pytest since 9.2 keeps as it was.
    """
    from xdist.scheduler import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::", 1)[0]
            return "box" if path.startswith("tests/systemd/") else path

    return WholeFiles(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lone surrogates, which some tests write on purpose, do not travel between test processes."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]

    return report
