"""The README names every address and every verb that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from claude_relay.api.app import ROUTES
from claude_relay.cli.main import VERBS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ROUTES)
def test_every_address_is_in_the_readme(path: str) -> None:
    stem, _, end = path.rpartition("/")

    assert path in README or (stem in README and f"…/{end}`" in README)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_its_table(verb: str) -> None:
    table = README.split("## The command line")[1].split("### Exit codes")[0]

    assert re.search(rf"`{verb}`", table)
