"""What every test may lean on."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Of several test processes each takes whole files; those that share the one box with a systemd stay together.

    The box comes first: it takes longest, and the others fill the time beside it.
    """
    in_box = {item.nodeid for item in items if item.path.parent.name == "systemd"}
    items.sort(key=lambda item: item.nodeid not in in_box)
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group("box" if item.nodeid in in_box else str(item.path)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lone surrogates, which some tests write on purpose, do not travel between test processes."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]

    return report
