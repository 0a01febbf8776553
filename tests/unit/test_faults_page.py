"""docs/reference/faults.md names, for every fault, tests that are there: each by its own name, never a folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "faults.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", PAGE, flags=re.M))
NAMED = sorted({name for row in ROWS.values() for name in re.findall(r"`([^`]+)`", row)})


@pytest.mark.parametrize("number", sorted(ROWS, key=int))
def test_every_fault_has_a_test_of_its_own(number: str) -> None:
    assert re.fullmatch(r"`tests/[\w/]+\.py::[Tt]est_?\w+`(, `tests/[\w/]+\.py::[Tt]est_?\w+`)*", ROWS[number])


@pytest.mark.parametrize("name", NAMED)
def test_it_is_there(name: str) -> None:
    path, _, function = name.partition("::")

    text = (ROOT / path).read_text(encoding="utf-8")

    assert re.search(rf"^(?: *def {function}\(|{function} = )", text, re.M)
