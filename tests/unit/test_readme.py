"""The front page is short, and the reference names every route and every verb."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from claude_relay.api.app import ROUTES
from claude_relay.cli.main import VERBS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HTTP_API = (ROOT / "docs/reference/http-api.md").read_text(encoding="utf-8")
COMMAND_LINE = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")


def test_the_front_page_has_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_the_front_page_shows_the_two_commands_first() -> None:
    assert README.index("make demo") < README.index("make test") < README.index("## ")


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_is_in_the_reference(path: str) -> None:
    stem, _, end = path.rpartition("/")

    assert path in HTTP_API or (stem in HTTP_API and f"…/{end}`" in HTTP_API)


def test_the_reference_has_a_row_for_every_verb_and_for_no_other() -> None:
    table = COMMAND_LINE.split("| verb | does |")[1].split("\n\n")[0]
    named = {verb for row in table.splitlines()[2:] for verb in re.findall(r"`([a-z]+)`", row.split("|")[1])}

    assert named == set(VERBS)
