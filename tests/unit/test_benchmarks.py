"""The benchmarks: their table, and that each module still fits the code which it measures."""

from __future__ import annotations

import inspect

import pytest

from benchmarks.__main__ import _ALL, _page
from benchmarks.load import body
from benchmarks.rows import Row, markdown_table, text_table
from benchmarks.servers import KEY, StorelessRelay, settings
from claude_relay import wiring
from claude_relay.core.text import strict_json


@pytest.mark.parametrize(
    ("value", "target", "verdict"),
    [(0.7, ">= 0.7", "met"), (0.69, ">= 0.7", "missed"), (3, "<= 2", "missed"), (3, "", "")],
)
def test_a_row_says_whether_its_target_is_met(value: float, target: str, verdict: str) -> None:
    assert Row(name="ratio", value=value, target=target).verdict == verdict


def test_a_missed_target_stays_in_the_table_and_on_the_page() -> None:
    rows = [Row(name="ratio", value=0.5, target=">= 0.7", spread=(0.4, 0.6)), Row(name="rate", value=3_000, unit="/s")]
    page = _page({"accept": rows}, {"processor": "one"}, rounds=5)

    assert "| ratio | 0.5 | 0.4 to 0.6 | >= 0.7 | missed |" in markdown_table(rows)
    assert markdown_table(rows) in page
    assert "- processor: one" in page
    assert len({len(line) for line in text_table(rows).splitlines()}) == 1


@pytest.mark.parametrize("name", _ALL)
def test_each_benchmark_takes_a_folder_and_a_number_of_rounds(name: str) -> None:
    inspect.signature(_ALL[name]).bind(None, rounds=5)


@pytest.mark.parametrize("own_ids", [True, False])
def test_the_server_without_a_store_accepts_the_benchmarks_body(tmp_path, own_ids: bool) -> None:
    """It reaches into the use case of submits, which once changed without it."""
    from falcon.testing import TestClient

    given = settings(tmp_path)
    with wiring.open_relay(given, create=True) as relay:
        relay.__class__ = StorelessRelay
        client = TestClient(wiring.make_app(given, relay))
        headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
        answer = client.simulate_post(
            "/api/claude", headers=headers, body=body(1_024, own_ids=own_ids).replace("@", "x")
        )

        assert answer.status_code == 202
        assert sum(relay.queries.overview()["jobs"].values()) == 0
    assert strict_json.loads(body(1_024).encode())
    assert 1_000 < len(body(1_024)) < 1_100
