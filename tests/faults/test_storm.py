"""A short storm in every test run; `make prove-storm` runs a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import batch_storm, storm


@pytest.mark.faults
@pytest.mark.process
@pytest.mark.timeout(300)
def test_whatever_is_killed_every_202_ends_in_one_outcome(tmp_path: Path) -> None:
    """Kept and delivered under one id with the same bytes; paid calls are jobs and interruptions that were admitted."""
    counted = storm.run(tmp_path, seconds=25, seed=20261123)

    assert counted["accepted"] > 50
    assert sum(counted["kills"].values()) >= 4
    assert counted["interruptions"] > 0  # the kills did meet calls in the middle


@pytest.mark.faults
@pytest.mark.process
@pytest.mark.timeout(300)
def test_a_storm_over_batches_pays_for_each_job_once(tmp_path: Path) -> None:
    """Each custom_id once, to the cent as the ledger has it, and what was needed by a time was there by then."""
    counted = batch_storm.run(tmp_path, jobs=200, seed=20261124, seconds=12)

    assert sum(counted["kills"].values()) >= 3
    assert counted["needed by a time"] > 10
