"""The maximum cost of a collection with real workers, one of which is killed in the middle."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process

_ROWS = 40


def test_a_collection_that_reaches_its_maximum_half_way_ends_with_one_callback(tmp_path: Path) -> None:
    """
    The worker dies while rows run; counts and cost of the callback are those of the rows, one call above the maximum
    at most. A retry goes on with the rest.
    """
    with Receiver() as hook, Rig(tmp_path, RELAY_PROVIDER="sandbox", RELAY_CONCURRENCY="8") as rig:
        rig.start()
        template = {"prompt": "[sandbox: slow 100ms] {{text}}", "options": {"maxTokens": 200}}
        rows = [{"text": f"row {number}"} for number in range(_ROWS)]
        body = {"collectionId": "c", "template": template, "rows": rows, "webhookUrl": hook.url("/x")}
        assert rig.post("/api/collections", {**body, "maxCostUsd": 0.01}).status_code == 202
        eventually(lambda: rig.get("/api/collections/c")["completed"] >= 5, within=60)
        rig.worker.kill()
        rig.start_worker()
        first = hook.wait_for(1)[0].json
        most = max(row["costUsd"] for row in _ended(rig, first))

        assert first["status"] == "partial" and 0.01 <= first["costUsd"] <= 0.01 + most
        assert {failure["errorType"] for failure in first["failures"]} == {"budget"}

        generation = 1
        while rig.get("/api/collections/c")["status"] == "partial":
            generation += 1
            assert rig.post("/api/collections/c/retry").status_code == 202
            eventually(lambda: rig.get("/api/collections/c")["delivery"]["status"] == "delivered", within=60)
        last = hook.received[-1].json
        assert (last["status"], last["completed"], last["generation"]) == ("completed", _ROWS, generation)
        _ended(rig, last)
        sent = {(item.headers["webhook-id"], item.json["generation"]) for item in hook.received}
        assert len(sent) == generation  # the one whose worker died may have come twice


def _ended(rig: Rig, callback: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows, which agree with the callback."""
    rows = rig.get("/api/collections/c/results", format="json")
    counts = Counter(row["status"] for row in rows)
    cost = sum(row["costUsd"] or 0 for row in rows)

    assert (callback["total"], callback["completed"], callback["failed"]) == (
        _ROWS,
        counts["completed"],
        counts["failed"],
    )
    assert callback["costUsd"] == pytest.approx(cost)
    return [row for row in rows if row["status"] == "completed"]
