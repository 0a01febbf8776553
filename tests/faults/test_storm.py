"""A short storm in every test run; `make storm` runs a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import storm


@pytest.mark.faults
@pytest.mark.process
@pytest.mark.timeout(300)
def test_whatever_is_killed_every_202_ends_in_one_outcome(tmp_path: Path) -> None:
    """Kept and delivered under one id with the same bytes; paid calls are jobs and interruptions that were admitted."""
    counted = storm.run(tmp_path, seconds=25, seed=20261123)

    assert counted["accepted"] > 50
    assert sum(counted["kills"].values()) >= 4
    assert counted["interruptions"] > 0  # the kills did meet calls in the middle
