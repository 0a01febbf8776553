"""The work of every page: the same with few jobs and with many, and at most 60 kB; with --proof a million."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from falcon.testing import TestClient

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.config import Settings
from claude_relay.services import Relay
from tests.contract.test_flat import _PROOF, CountedSqlite, fill_with_index, relay_on

from .conftest import KEY, Person

#: More finished jobs than figures over time are made of, and more waiting ones than a position counts.
_SMALL, _LARGE = (2_500, 1_200), (8_000, 4_000)
PAGES = (
    "",
    "/jobs",
    "/jobs?status=pending",
    "/jobs?status=failed",
    "/jobs?status=completed",
    "/jobs?dead=true",
    "/jobs?unacked=true",
    "/jobs?host=bad.example",
    "/jobs?group=default",
    "/jobs?key=admin&status=pending",
    "/jobs?since=1h",
    "/jobs?host=nowhere.example",
    "/jobs?model=none&status=failed",
    "/jobs?error=refused",
    "/jobs?host=bad.example&status=completed",
    "/jobs?dead=true&host=done.example",
    "/jobs?status=failed&group=none",
    "/jobs?key=admin&host=nowhere.example",
    "/jobs?q=Giraffe",
    "/jobs/done-0000000003",
    "/jobs/waits-0000000003",
    "/groups",
    "/destinations",
    "/keys",
    "/money",
    "/money?by=key",
    "/try",
    "/collections",
    "/templates",
)


#: Pages that count what was given up, by an index of that alone: some steps for each.
COUNTED, STEPS = ("", "/jobs?dead=true", "/destinations"), 20


def admin_of(relay: Relay) -> Person:
    """An administrator who has logged in to the dashboard of that relay."""
    settings = Settings(api_secret_key=KEY, rate_limit=None, rate_limit_submit=None)
    intake = wiring.intake_context(settings, relay)
    app = make_app(relay, settings, intake=intake, dashboard=wiring.dashboard(settings, relay, intake))

    return Person(TestClient(app), {}).log_in(KEY)


def works(path: Path, finished: int, waiting: int) -> dict[str, tuple[int, int]]:
    """Steps of SQLite's virtual machine and bytes, of each page."""
    existed = path.exists()
    store = CountedSqlite(path)
    relay = relay_on(store)
    if not existed:
        fill_with_index(relay, store, finished=finished, waiting=waiting)
    admin, figures = admin_of(relay), {}
    for page in PAGES:
        admin.get(f"/dashboard{page}")  # reads what is cached for a moment
        before = CountedSqlite.work
        assert admin.get(f"/dashboard{page}").status == 200, page
        figures[page] = (CountedSqlite.work - before, len(admin.page.encode()))
    relay.close()
    return figures


def test_no_page_reads_more_with_many_jobs_and_none_is_large(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Steps of the virtual machine; the acceptance is a million finished jobs and 100,000 that wait (--proof).

    With `--keep-stores FOLDER` its stores stay there, and are used again.
    """
    sizes: Any = (_SMALL, _PROOF if request.config.getoption("proof") else _LARGE)
    folder = Path(request.config.getoption("keep_stores") or tmp_path)
    small, large = (works(folder / f"{size[0]}.db", *size) for size in sizes)

    dead = sizes[1][0] // 20
    most = {page: 1.3 * few + 60 + (STEPS * dead if page in COUNTED else 0) for page, (few, _) in small.items()}
    assert [f"{page}: {small[page][0]} {large[page][0]}" for page in most if large[page][0] > most[page]] == []
    assert [(page, large[page][1]) for page in PAGES if large[page][1] > 60_000] == []
