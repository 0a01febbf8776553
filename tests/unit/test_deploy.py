"""What docs/DEPLOY.md leans on: the image, the compose file and Railway's, held against the program itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from claude_relay.api.app import ROUTES
from claude_relay.cli.main import VERBS
from claude_relay.config import OPTIONS, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = (ROOT / "docs" / "DEPLOY.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
SETTINGS = {row.name for row in OPTIONS}


@pytest.fixture
def services() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert set(compose["volumes"]) == {"jobs"}
    return compose["services"]


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_compose_keeps_both_daemons_on_one_volume_each_with_its_own_key(services):
    assert {name: service["command"] for name, service in services.items()} == {"api": ["serve"], "worker": ["worker"]}
    assert all(service["volumes"] == ["jobs:/var/lib/claude-relay"] for service in services.values())
    given = {name: set(service["environment"]) for name, service in services.items()}
    assert "ANTHROPIC_API_KEY" in given["worker"] - given["api"]
    assert "API_SECRET_KEY" in given["api"] - given["worker"]
    assert given["api"] | given["worker"] <= SETTINGS


def test_compose_leaves_the_port_to_a_proxy_and_gives_calls_time_to_come_home(services):
    assert services["api"]["ports"] == ["127.0.0.1:${PORT:-3000}:3000"]
    assert "ports" not in services["worker"]
    assert seconds(services["worker"]["stop_grace_period"]) > Settings().drain


def test_railway_looks_at_an_address_that_there_is_and_gives_calls_time_to_come_home():
    told = json.loads((ROOT / "railway.json").read_text(encoding="utf-8"))

    assert told["deploy"]["healthcheckPath"] in ROUTES
    assert told["deploy"]["drainingSeconds"] > Settings().drain
    assert told["deploy"]["numReplicas"] == 1
    assert (ROOT / told["build"]["dockerfilePath"]).exists()


def test_the_image_has_two_stages_on_a_base_that_can_be_chosen_and_no_compiler():
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert re.search(r"^ARG BASE=python:3\.\d+-slim$", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"\b(gcc|build-essential|python3-dev)\b", DOCKERFILE)


def test_the_image_runs_under_tini_as_nobody_in_particular_and_says_how_it_is():
    last = DOCKERFILE.split("FROM ")[-1]

    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert json.loads(re.search(r"^ENTRYPOINT (.+)$", last, re.MULTILINE)[1]) == ["tini", "--", "claude-relay"]
    assert json.loads(re.search(r"^CMD (\[\"serve.+)$", last, re.MULTILINE)[1]) == ["serve", "--with-worker"]
    check = json.loads(re.search(r"HEALTHCHECK .*?CMD (\[.+\])$", last, re.MULTILINE)[1])
    compile(check[2], "HEALTHCHECK", "exec")
    assert "/health" in check[2] and "PORT" in check[2]


def test_the_builder_gets_all_that_is_copied_and_no_more():
    """A `.env` or a store in the checkout must never reach an image."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    admitted = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    ]

    assert rules[0] == "*"
    assert set(copied) == admitted
    assert all((ROOT / name).exists() for name in copied)


def test_the_page_names_only_what_there_is():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pieces = re.findall(r"```bash\n.*?```|`[^`\n]+`", DEPLOY, re.DOTALL)
    code = "\n".join(re.sub(r"#.*", "", piece) for piece in pieces)

    assert set(re.findall(r"\bRELAY_[A-Z_]+", DEPLOY)) <= SETTINGS
    assert set(re.findall(r"\bmake ([a-z]+)", code)) <= targets | {"python"}
    assert set(re.findall(r"(?<![/\w-])(?<!aG )claude-relay ([a-z]+)", code)) <= set(VERBS)
    for link in re.findall(r"\]\((\.\./[^)#]+)\)", DEPLOY):
        assert (ROOT / "docs" / link).exists(), link
