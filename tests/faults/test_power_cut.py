"""Durability after a power cut at any moment: acknowledged data is stored, and nothing is corrupt."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from claude_relay.core.policy import Policy
from claude_relay.errors import NotFound, StoreRefused
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.faults import powercut
from tests.support import proof
from tests.support.builders import QuietNotifier
from tests.support.needs import needs

pytestmark = [pytest.mark.faults, pytest.mark.timeout(proof.size(240, 1800))]


def recovered(folder: Path, number: int, files: dict[str, bytes], acknowledged: set[str]) -> str | None:
    """The problem of an image, or None. Before the first acknowledgement there need not be a store yet."""
    here = folder / f"image-{number}"
    here.mkdir()
    for path, content in files.items():
        (here / Path(path).name).write_bytes(content)
    try:
        store = SqliteStore(here / "relay.db")
    except StoreRefused as exc:
        return f"refused: {exc}" if acknowledged else None
    try:
        if (fault := store.check()) is not None:
            return f"corrupt: {fault}"
        relay = Relay(store, QuietNotifier(), Policy(), rng=random.Random(1))
        for word in sorted(acknowledged):
            what, name = word.split()
            try:
                record = relay.queries.job_details(JobRef(request_id=name))
            except NotFound:
                return f"lost: {word}"
            if what == "sent" and not record["calls"][0]["sent"]:
                return f"lost: {word}"
            if what == "completed" and record["status"] != "completed":
                return f"lost: {word}"
            if what == "delivered" and record["delivery"]["status"] != "delivered":
                return f"lost: {word}"
    finally:
        store.close()
    return None


def faults(tmp_path: Path, *, weak: str, most: int) -> list[str]:
    steps = powercut.record(needs("strace"), tmp_path, jobs=4, weak=weak)
    assert sum(step.kind == "ack" for step in steps) == 16
    assert sum(step.kind == "write" for step in steps) > 50
    problem = []
    for number, files, acknowledged in powercut.images(steps, seed=proof.seed(20261123), most=most):
        if fault := recovered(tmp_path, number, files, acknowledged):
            problem.append(f"at step {number}: {fault}")

    return problem


def test_no_acknowledged_data_is_lost_or_corrupt(tmp_path: Path) -> None:
    """Submit, send, complete, deliver: at any moment of the power cut."""
    assert faults(tmp_path, weak="", most=proof.size(250, 5000)) == []


def test_the_harness_sees_a_store_that_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """The same with the syncs left out: acknowledged jobs are lost, or the test could not fail."""
    assert faults(tmp_path, weak="off", most=80) != []
