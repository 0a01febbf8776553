"""A short storm in every test run; `make prove-storm` runs a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import batch_storm, collection_storm, storm


@pytest.mark.faults
@pytest.mark.process
@pytest.mark.timeout(300)
def test_after_any_kill_every_202_ends_in_one_outcome(tmp_path: Path) -> None:
    """Delivered under one id with the same bytes; paid calls are jobs and recorded interruptions."""
    counted = storm.run(tmp_path, seconds=25, seed=20261123, kills=4)

    assert counted["accepted"] > 50
    assert sum(counted["kills"].values()) >= 4
    assert counted["interruptions"] > 0  # kills did hit calls in the middle


@pytest.mark.faults
@pytest.mark.process
@pytest.mark.timeout(300)
def test_after_any_kill_every_202_ends_in_one_outcome_on_postgresql(tmp_path: Path, database: str) -> None:
    """The same with the store of several machines, whose leases take over from killed workers."""
    counted = storm.run(
        tmp_path, seconds=10, seed=20261130, kills=4, **collection_storm.on_postgres(database, tmp_path)
    )

    assert counted["accepted"] > 10
    assert sum(counted["kills"].values()) >= 4


@pytest.mark.faults
@pytest.mark.process
@pytest.mark.timeout(300)
def test_a_storm_over_batches_pays_for_each_job_once(tmp_path: Path) -> None:
    """Each custom_id once, to the cent as in the ledger, and a job with a needBy ends by then."""
    counted = batch_storm.run(tmp_path, jobs=200, seed=20261124, seconds=12, kills=3)

    assert sum(counted["kills"].values()) >= 3
    assert counted["needed by a time"] > 10


@pytest.mark.faults
@pytest.mark.process
@pytest.mark.timeout(300)
def test_a_storm_over_collections_leaves_one_callback_each(tmp_path: Path) -> None:
    """Its counts are those of the rows, none is lost, and each was called."""
    counted = collection_storm.run(tmp_path, rows=40, seed=20261125, kills=4)

    assert counted["rows"] == 120 and sum(counted["kills"].values()) == 4


@pytest.mark.faults
@pytest.mark.process
@pytest.mark.timeout(300)
def test_a_storm_over_collections_on_postgresql(tmp_path: Path, database: str) -> None:
    """The same with the store of several machines."""
    counted = collection_storm.run(
        tmp_path, rows=20, seed=20261126, kills=3, **collection_storm.on_postgres(database, tmp_path)
    )

    assert counted["rows"] == 60 and sum(counted["kills"].values()) == 3
