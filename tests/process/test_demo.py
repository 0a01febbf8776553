"""The demo: what a visitor sees first, with its own daemons and the sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.rig import Rig

pytestmark = pytest.mark.process


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_the_demo_shows_a_folder_of_invoices_with_their_checks(rig: Rig) -> None:
    """25 rows on stdout, two marked, two repaired; one callback; the way to the single invoice."""
    run = rig.command("demo")
    rows = [line.split("\t") for line in run.stdout.splitlines()]

    assert run.returncode == 0, run.stderr
    assert len(rows) == 25
    assert {row[0]: row[-1] for row in rows if row[-1] != "passed"} == {
        "5": "passed, repaired",
        "12": "passed, repaired",
        "17": "FAILED: sum + mva = å betale",
        "21": "FAILED: KID",
    }
    assert (
        "17-faktura-20262329.pdf: sum + mva = å betale: 25325.76 is not 26225.76, the difference is -900" in run.stderr
    )
    assert "one callback" in run.stderr and '"completed": 25' in run.stderr
    assert "demo --single" in run.stderr
    assert "\x1b" not in run.stdout + run.stderr and "\r" not in run.stderr


def test_the_demo_prints_its_callback_as_json(rig: Rig) -> None:
    """`--single` is one invoice with its 133 fields."""
    run = rig.command("demo", "--single", "--json")
    callback = json.loads(run.stdout)

    assert callback["status"] == "completed"
    assert len(callback["json"]) == 133
