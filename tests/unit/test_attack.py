"""The table of `make attack`, whose tests also run in the suite, with fixed seeds and fewer examples."""

from __future__ import annotations

import sys

import pytest

from tests import attack


def test_every_test_of_an_attack_exists() -> None:
    """A kind without its tests would try less than it names."""
    assert [path for kind in attack.KINDS for path in kind.tests if not (attack.ROOT / path).is_file()] == []


@pytest.mark.parametrize(("result", "code"), [((9, 0, ""), 0), ((9, 1, "FAILED x"), 1), ((0, 0, ""), 1)])
def test_a_finding_ends_with_1_and_is_in_the_table(
    result: tuple[int, int, str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So does a kind of which nothing was tried."""
    monkeypatch.setattr(attack, "run_tests", lambda paths, seed: result)
    monkeypatch.setattr(sys, "argv", ["attack", "--seed", "1", "--kind", "framing"])

    assert attack.main() == code
    _, heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["kind", "tried", "expected", "found"]
    assert row.startswith("request framing") and ("as expected" in row) is (code == 0) and result[2] in row
