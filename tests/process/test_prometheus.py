"""A real Prometheus that scrapes a real relay as docs/how-to/monitor.md says, with its rules and Grafana's queries."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.support.eventually import eventually
from tests.support.needs import needs
from tests.support.ports import free_port
from tests.support.receiver import Answer, Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process

DOCS = Path(__file__).parents[2] / "docs"


class Prometheus:
    """The server, with one relay as its target."""

    def __init__(self, folder: Path, target: str, key: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        (folder / "relay.key").write_text(key)
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [
                {
                    "job_name": "claude-relay",
                    "static_configs": [{"targets": [target]}],
                    "authorization": {"credentials_file": str(folder / "relay.key")},
                }
            ],
            "rule_files": [str(DOCS / "alert-rules.yml")],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.process = subprocess.Popen(
            [
                needs("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def get(self, path: str, **params: str) -> Any:
        """The data of an answer; None while the server starts."""
        try:
            answer = requests.get(f"{self.url}/api/v1/{path}", params=params, timeout=60).json()
        except (requests.RequestException, ValueError):
            return None
        assert answer["status"] == "success", (params, answer)
        return answer["data"]

    def value(self, query: str) -> float | None:
        """The sum of an instant query; None without a series."""
        data = self.get("query", query=f"sum({query})")
        return float(data["result"][0]["value"][1]) if data and data["result"] else None

    def state(self, alert: str) -> str | None:
        """The state of an alert rule."""
        state: str | None = self.rules().get(alert, {}).get("state")
        return state

    def rules(self) -> dict[str, Any]:
        """The alert rules by name."""
        groups = (self.get("rules") or {"groups": []})["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        yield rig.start()


def test_prometheus_scrapes_the_relay_and_its_rules_fire(rig: Rig, tmp_path: Path) -> None:
    """Every rule and every query of the Grafana dashboard runs; the first callback that is given up is an alert."""
    key = rig.command("keys", "add", "prometheus", "--scope", "metrics").stdout.split()[-1]
    prometheus = Prometheus(tmp_path, rig.url.removeprefix("http://"), key)
    try:
        with Receiver() as hook:
            hook.answer("/gone", Answer(status=410))
            dead = 'claude_relay_delivery_attempts_total{outcome="dead"}'
            eventually(lambda: prometheus.value(dead) == 0, within=60)
            rig.submit({"requestId": "r-1", "prompt": "Hei", "webhookUrl": hook.url("/gone")})
            eventually(lambda: rig.status("r-1")["delivery"]["status"] == "dead")
        assert rig.worker.stop() == 0  # it reports what it has counted
        eventually(lambda: prometheus.value(dead) == 1)
        # A scrape may time out on a busy machine, and then the next one has the values.
        eventually(lambda: prometheus.value('claude_relay_calls_total{outcome="completed"}') == 1)
        eventually(lambda: prometheus.value('up{job="claude-relay"}') == 1)
        eventually(lambda: prometheus.state("ClaudeRelayDead") == "firing")
        eventually(lambda: prometheus.state("ClaudeRelayNoWorker") == "pending")
        assert {
            name: rule.get("lastError") for name, rule in prometheus.rules().items() if rule["health"] != "ok"
        } == {}

        dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
                assert prometheus.get("query", query=query) is not None
    finally:
        prometheus.process.terminate()
        prometheus.process.wait(30)
