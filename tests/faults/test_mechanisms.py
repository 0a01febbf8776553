"""The tests of the most important cases fail once their mechanism is taken out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .mechanisms import ROOT

pytestmark = [pytest.mark.faults, pytest.mark.process]


def test_each_mechanism_matters_to_its_test() -> None:
    """CASES A1, S1 to S6, F1, F2, and two of each section: see the table in `mechanisms.py`."""
    command = [sys.executable, "-m", "tests.faults.mechanisms"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert " proven " in done.stdout
