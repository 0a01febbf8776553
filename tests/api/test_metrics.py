"""`/metrics`: names, sources and bounds of the series, and the files that read them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from falcon.testing import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse

from claude_relay.core.deliveries.destination import Destination
from claude_relay.core.jobs.failure import ErrorType
from claude_relay.core.keys import Scope
from claude_relay.core.metrics import MAX_NAMES
from claude_relay.core.policy import Policy
from claude_relay.errors import StoreUnavailable
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.meters import Meters
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission
from tests.support.needs import needs

from .conftest import KEY

DOCS = Path(__file__).parents[2] / "docs"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
#: The names and labels of the contract (§A).
SERIES = {
    "build_info": {"version", "store"},
    "jobs": {"status", "group"},
    "oldest_waiting_seconds": {"group"},
    "calls_total": {"model", "outcome"},
    "tokens_total": {"model", "kind"},
    "cost_usd_total": {"model"},
    "accept_seconds": set(),
    "start_seconds": set(),
    "call_seconds": {"model"},
    "delivery_seconds": set(),
    "deliveries": {"state"},
    "delivery_attempts_total": {"outcome"},
    "unacked": set(),
    "workers": set(),
    "slots": {"state"},
    "parked": {"reason"},
    "destination_healthy": {"destination"},
    "disk_free_bytes": set(),
    "collections": {"status"},
}


def scrape(client: TestClient, **headers: str) -> dict[str, dict[tuple, float]]:
    """Samples by name without its prefix, and by labels."""
    answer = client.simulate_get("/metrics", headers=headers)
    assert answer.status_code == 200
    samples: dict[str, dict[tuple, float]] = {}
    for family in parse(answer.text):
        samples.setdefault(family.name.removeprefix("claude_relay_"), {})
        for sample in family.samples:
            name = sample.name.removeprefix("claude_relay_")
            samples.setdefault(name, {})[tuple(sorted(sample.labels.items()))] = sample.value

    return samples


@pytest.fixture
def busy(relay):
    """A relay with jobs in several states, a delivery of each kind, and what its worker has counted."""
    meters = Meters(relay, disk_free=lambda: 12_345_678)
    for number in range(4):
        relay.submit(a_submission(f"r-{number}", webhook_url="https://hook.example/x", group=f"g{number % 2}"))
    first, second = relay.execution.claim("w", limit=2)
    relay.execution.complete(first, a_completion())
    relay.execution.fail(second, a_failure(ErrorType.REFUSED))
    meters.started(0.2)
    meters.called("claude-sonnet-5-5", 3.0)
    meters.called("claude-sonnet-5-5", 700.0)
    meters.posted("retry")
    meters.posted("delivered", 1.5)
    meters.flush()

    return relay


def test_the_names_and_labels_are_those_of_the_contract(client, busy):
    """CONTRACT-NEXT §A: every series, with its labels and type; none besides."""
    client.simulate_post("/api/claude", json={"prompt": "Hei"})
    families = {f.name.removeprefix("claude_relay_"): f for f in parse(client.simulate_get("/metrics").text)}
    histograms = {name for name, family in families.items() if family.type == "histogram"}
    counters = {f"{name}_total" for name, family in families.items() if family.type == "counter"}

    assert histograms == {"accept_seconds", "start_seconds", "call_seconds", "delivery_seconds"}
    assert counters == {name for name in SERIES if name.endswith("_total")}
    assert {name.removesuffix("_total") for name in SERIES} <= set(families)
    assert set(families) - {name.removesuffix("_total") for name in SERIES} <= {"accept_seconds_created"}
    for name, labels in SERIES.items():
        for sample in families[name.removesuffix("_total")].samples:
            assert set(sample.labels) - {"le"} == labels, name


def test_the_values_come_from_the_store(client, busy):
    """Jobs, calls, tokens, cost, deliveries, disk and histograms as they are."""
    seen = scrape(client)

    assert seen["jobs"][("group", "g0"), ("status", "completed")] == 1
    assert sum(seen["jobs"].values()) == 4
    assert seen["calls_total"] == {
        (("model", "claude-sonnet-5-5"), ("outcome", "completed")): 1,
        (("model", "claude-sonnet-5-5"), ("outcome", "refused")): 1,
    }
    assert seen["tokens_total"][("kind", "input"), ("model", "claude-sonnet-5-5")] == 10
    assert seen["cost_usd_total"][("model", "claude-sonnet-5-5"),] == pytest.approx(0.001)
    assert seen["deliveries"][("state", "pending"),] == 1
    assert seen["delivery_attempts_total"][("outcome", "retry"),] == 1
    assert seen["disk_free_bytes"][()] == 12_345_678
    assert seen["call_seconds_bucket"][("le", "+Inf"), ("model", "claude-sonnet-5-5")] == 2
    assert seen["call_seconds_bucket"][("le", "5.0"), ("model", "claude-sonnet-5-5")] == 1
    assert seen["call_seconds_sum"][("model", "claude-sonnet-5-5"),] == 703
    assert seen["delivery_seconds_count"][()] == 1 and seen["start_seconds_count"][()] == 1
    assert seen["parked"] == {(("reason", "none"),): 0}


def test_accepted_submits_are_timed_in_this_process(client):
    """One observation for each submit that was stored."""
    client.simulate_post("/api/claude", json={"prompt": "Hei"})
    client.simulate_post("/api/claude", json={})

    assert scrape(client)["accept_seconds_count"][()] == 1


def test_the_sums_survive_a_restart_and_a_purge(make, tmp_path):
    """Another process shows the same, also once every job is purged."""
    clock = Clock()
    store = SqliteStore(tmp_path / "other.db", clock=clock)
    relay = Relay(store, QuietNotifier(), Policy())
    relay.submit(a_submission("r-1", webhook_url=None))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    meters = Meters(relay)
    meters.called("claude-sonnet-5-5", 3.0)
    meters.posted("delivered", 1.5)
    meters.stop()
    first = scrape(make(relay))
    clock.advance(100 * 86_400)
    assert relay.maintenance.purge() == 1
    relay.close()
    relay = Relay(SqliteStore(tmp_path / "other.db", clock=clock), QuietNotifier(), Policy())
    later = scrape(make(relay))
    relay.close()

    assert later["jobs"] == {}
    for name in ("calls_total", "tokens_total", "cost_usd_total", "call_seconds_bucket", "delivery_attempts_total"):
        assert later[name] == first[name] != {}


def test_a_park_and_a_sick_destination_show(client, relay, busy):
    """A stopped queue has its reason; a destination that is slowed down is 0, another one 1."""
    relay.pause()
    with_failures = Destination(name="https://sick.example", failures=9, failing_since=1.0, slowed_at=2.0)
    relay._store.write(lambda tx: tx.save_destination(with_failures))
    seen = scrape(client)

    assert list(seen["parked"].values()) == [1] and (("reason", "none"),) not in seen["parked"]
    assert seen["destination_healthy"] == {
        (("destination", "https://hook.example"),): 1,
        (("destination", "https://sick.example"),): 0,
    }


def test_groups_beyond_the_limit_are_one(client, relay):
    """At most 100 groups by name, the largest; the rest is `other`."""
    relay.submit_many([a_submission(f"r-{number}", group=f"g{number:03}") for number in range(150)])
    seen = scrape(client)
    groups = {dict(labels)["group"] for labels in seen["jobs"]}

    assert len(groups) == MAX_NAMES + 1 and "other" in groups
    assert sum(seen["jobs"].values()) == 150


def test_the_calls_of_a_killed_worker_are_counted(client, relay):
    """CONTRACT-NEXT §A: its last calls, and the one that it was killed in; one that was handed back is none."""
    for number in range(4):
        relay.submit(a_submission(f"r-{number}"))
    done, cut, unsent, released = relay.execution.claim("w", limit=4)
    for each in (done, cut):
        relay.execution.sending(each)
    relay.execution.complete(done, a_completion())  # and no report of its worker follows
    relay.execution.reap(cut.job.id, cut.token, why="killed")
    relay.execution.fail(unsent, a_failure(ErrorType.TIMEOUT, reason="connect", sent=False))
    relay.execution.release(released)
    seen, spent = scrape(client)["calls_total"], client.simulate_get("/api/cost").json["total"]

    assert {dict(labels)["outcome"]: count for labels, count in seen.items()} == {
        "completed": 1,
        "interrupted": 1,
        "timeout": 1,
    }
    assert (spent["calls"], spent["unpricedCalls"]) == (2, 1)  # of a call that was not sent nothing is to be paid


def test_models_beyond_the_limit_are_one(relay):
    """A caller may name any model; a worker counts a bounded number of them."""
    meters = Meters(relay)
    for number in range(MAX_NAMES + 50):
        meters.called(f"m{number}", 1.0)

    assert len({series[1] for series in meters._added}) == MAX_NAMES + 1


def test_a_worker_writes_what_changed_and_keeps_it_while_the_store_is_away(relay, monkeypatch):
    """No write without a change; after a failed one nothing is lost or counted twice."""
    meters = Meters(relay, disk_free=lambda: 1_000_000)
    written = []
    report = relay.metrics.report

    def away(added, gauges):
        written.append(dict(added))
        if len(written) == 1:
            raise StoreUnavailable("locked")
        report(added, gauges)

    monkeypatch.setattr(relay.metrics, "report", away)
    meters.posted("retry")
    for _ in range(4):
        meters.flush()

    assert written == [{("delivery_attempts", "", "retry"): 1.0}] * 2
    assert (("delivery_attempts", "", "retry"), 1.0) in relay.metrics.snapshot(100).series


def test_a_folder_that_is_missing_ends_no_round_of_the_meters(relay):
    """A sibling of CASES A1: a traceback each second beside the alert of the store."""

    def removed():
        raise FileNotFoundError("/var/lib/claude-relay")

    meters = Meters(relay, disk_free=removed)
    meters.posted("retry")
    meters.flush()

    assert (("delivery_attempts", "", "retry"), 1.0) in relay.metrics.snapshot(100).series


def test_open_metrics_where_it_is_accepted(client, busy):
    """Prometheus asks for it; the text ends as it should."""
    answer = client.simulate_get("/metrics", headers={"Accept": OPEN_METRICS})

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_open_metrics(answer.text)} >= {"claude_relay_jobs", "claude_relay_calls"}


def test_the_key_and_the_scope(make, relay):
    """A key with the scope `metrics` or the admin key, unless the setting makes it public; no rate limit."""
    _, text = relay.keys.add("prometheus", frozenset({Scope.METRICS}))
    _, other = relay.keys.add("reader", frozenset({Scope.READ}))
    closed, public = make().app, make(metrics_public=True).app

    def status(app, key=None):
        return TestClient(app).simulate_get("/metrics", headers={"X-API-Key": key} if key else {}).status_code

    assert [status(closed, key) for key in (None, text, KEY, other, "wrong")] == [401, 200, 200, 403, 403]
    assert status(public) == 200


def test_a_hostile_group_is_escaped(client, relay):
    """What callers choose is a label value, whatever its characters."""
    relay.submit(a_submission("r-1", webhook_url='https://hook.example/x"}\n'))

    assert sum(scrape(client)["jobs"].values()) == 1


def used_names(text: str) -> set[str]:
    names = set(re.findall(r"claude_relay_(\w+?)(?=[{\[\s)]|$)", text))

    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def test_dashboard_and_rules_name_series_that_exist():
    """docs/grafana-dashboard.json and docs/alert-rules.yml."""
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((DOCS / "alert-rules.yml").read_text())["groups"][0]["rules"]

    assert used_names("\n".join(queries)) == set(SERIES) - {"build_info"}
    assert used_names("\n".join(rule["expr"] for rule in rules)) <= set(SERIES)


def test_promtool_accepts_rules_and_metrics(client, busy, tmp_path):
    """Debian's promtool checks the rules, and lints the text."""
    client.simulate_post("/api/claude", json={"prompt": "Hei"})
    tool = needs("promtool", "prometheus")
    rules = subprocess.run([tool, "check", "rules", str(DOCS / "alert-rules.yml")], capture_output=True, text=True)
    text = client.simulate_get("/metrics").text
    metrics = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, text=True)

    assert rules.returncode == 0, rules.stderr + rules.stdout
    assert metrics.returncode == 0, metrics.stderr + metrics.stdout


def test_collections_are_counted_by_status(client):
    """Those that wait, are open, and have ended."""
    fields = {"template": {"prompt": "{{x}}"}, "rows": [{"x": "a"}]}
    for name, more in (("c1", {}), ("c2", {"open": True}), ("c3", {})):
        answer = client.simulate_post("/api/collections", json={"collectionId": name, **fields, **more})
        assert answer.status_code == 202
    client.simulate_post("/api/collections/c3/cancel")
    seen = scrape(client)["collections"]

    assert seen[("status", "pending"),] == 1 and seen[("status", "open"),] == 1 and sum(seen.values()) == 3
    assert seen[("status", "partial"),] == 0 and len(seen) == 6


def test_a_group_in_which_no_job_waits_has_the_age_zero(relay, client):
    """The series stays, so that a graph has no hole and an alert ends."""
    relay.submit(a_submission("r-1", group="g"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())

    assert scrape(client)["oldest_waiting_seconds"] == {(("group", "g"),): 0.0}
