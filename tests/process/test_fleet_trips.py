"""Round trips under the lock of a fleet of processes: what its throughput on a distant PostgreSQL depends on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fleet import Fleet
from claude_relay.sandbox import Sandbox
from tests.support.postgres import Cluster


def test_a_job_costs_a_fleet_of_processes_about_three_round_trips_under_its_lock(tmp_path: Path) -> None:
    """
    Two APIs and two workers, own ids and callbacks; with all that they write besides, such as renewed leases.

    1.9 is usual, also on a busy machine.
    """
    with Cluster(durable=True) as cluster, Sandbox() as sandbox:
        cluster.start()
        with Fleet(cluster, tmp_path, 2, sandbox) as fleet:
            fleet.work(40, rtt=0.0)  # imports and connections
            measured = fleet.work(160, rtt=0.001)

    assert measured["trips_a_job"] <= 3, measured
