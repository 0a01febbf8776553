"""The image, compose and Railway files of docs/how-to/deploy.md, compared with the program."""

from __future__ import annotations

import contextlib
import io
import json
import re
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import yaml

from claude_relay.api.app import ROUTES
from claude_relay.cli.main import VERBS
from claude_relay.config import OPTIONS, Settings, load
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = (ROOT / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
SETTINGS = {row.name for row in OPTIONS} | {f"{row.name}_FILE" for row in OPTIONS if row.in_file}


def compose(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def services() -> dict[str, Any]:
    content = compose("docker-compose.yml")
    assert set(content["volumes"]) == {"jobs"}
    return content["services"]


@pytest.fixture
def with_postgres() -> dict[str, Any]:
    content = compose("docker-compose.postgres.yml")
    assert set(content["volumes"]) == {"database", "state"}
    return content["services"]


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_compose_keeps_both_daemons_on_one_volume_each_with_its_own_key(services):
    assert {name: service["command"] for name, service in services.items()} == {"api": ["serve"], "worker": ["worker"]}
    assert all(service["volumes"] == ["jobs:/var/lib/claude-relay"] for service in services.values())
    given = {name: set(service["environment"]) for name, service in services.items()}
    assert "ANTHROPIC_API_KEY" in given["worker"] - given["api"]
    assert "API_SECRET_KEY" in given["api"] - given["worker"]
    assert given["api"] | given["worker"] <= SETTINGS


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.postgres.yml"])
def test_settings_of_relay_env_reach_the_daemons(name):
    """CASES C7: `environment:` wins over `env_file:`, also with an empty value; only keys and the store are in it."""
    for service, content in compose(name)["services"].items():
        if service != "db":
            assert content["env_file"] == [{"path": "relay.env", "required": False}]
            assert set(content["environment"]) <= {"API_SECRET_KEY", "ANTHROPIC_API_KEY", "RELAY_STORE"}


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.postgres.yml"])
def test_a_service_that_others_wait_for_has_a_health_check_of_its_own(name):
    """CASES C12: podman build and buildah write OCI images, which drop HEALTHCHECK: the worker would never start."""
    content = compose(name)["services"]
    waited = {other for each in content.values() for other, how in each.get("depends_on", {}).items()
              if how == {"condition": "service_healthy"}}  # fmt: skip

    assert waited and all("healthcheck" in content[other] for other in waited)


def test_the_image_declares_no_volume_and_a_planned_stop():
    """CASES C1, C2: Railway refuses VOLUME; the page says what a missing volume and a short patience cost."""
    assert not re.search(r"^VOLUME", DOCKERFILE, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", DOCKERFILE, re.MULTILINE)
    assert "attach a volume" in DEPLOY and "is lost with the next deployment" in DEPLOY
    assert "--stop-timeout 150" in DEPLOY and "paid for again" in DEPLOY


def test_compose_leaves_the_port_to_a_proxy_and_lets_calls_finish(services):
    assert services["api"]["ports"] == ["127.0.0.1:${PORT:-3000}:3000"]
    assert "ports" not in services["worker"]
    assert seconds(services["worker"]["stop_grace_period"]) > Settings().drain


def test_compose_with_postgres_is_the_same_but_for_the_store(services, with_postgres):
    server = with_postgres.pop("db")
    for name, service in with_postgres.items():
        other = services[name]
        store = service["environment"].pop("RELAY_STORE")
        read = load({"RELAY_STORE": re.sub(r"\$\{.*?\}", "correct-horse", store)}, dotenv=None, etc=None)
        assert read.store_shown == f"postgresql://{server['environment']['POSTGRES_USER']}@db/relay"
        assert read.secrets() == ("correct-horse",)
        assert service["depends_on"]["db"] == {"condition": "service_healthy"}
        assert service["volumes"] == ["state:/var/lib/claude-relay"]
        assert service["tmpfs"] == ["/tmp"], "podman refuses a tmpfs with uid= (CASES C12)"
        same = {
            "environment",
            "command",
            "read_only",
            "cap_drop",
            "security_opt",
            "ports",
            "stop_grace_period",
            "image",
        }
        assert {key: service.get(key) for key in same} == {key: other.get(key) for key in same}
    assert with_postgres["worker"]["deploy"] == {"replicas": 2} and "container_name" not in with_postgres["worker"]


def test_compose_brings_a_server_that_is_up_before_the_daemons_and_keeps_its_data(with_postgres):
    server = with_postgres["db"]

    assert server["volumes"] == ["database:/var/lib/postgresql/data"]
    assert server["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert "--host=127.0.0.1" in server["healthcheck"]["test"]
    assert "--encoding=UTF8" in server["environment"]["POSTGRES_INITDB_ARGS"]
    assert "ports" not in server


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.postgres.yml"])
def test_no_compose_file_holds_a_secret(name):
    for service in compose(name)["services"].values():
        for key, value in service["environment"].items():
            if "KEY" in key or "SECRET" in key or "PASSWORD" in key:
                assert re.fullmatch(r"\$\{\w+(:[-?].*)?\}", value), key


def test_railway_checks_an_existing_path_and_lets_calls_finish():
    content = json.loads((ROOT / "railway.json").read_text(encoding="utf-8"))

    assert content["deploy"]["healthcheckPath"] in ROUTES
    assert content["deploy"]["drainingSeconds"] > Settings().drain
    assert content["deploy"]["numReplicas"] == 1
    assert (ROOT / content["build"]["dockerfilePath"]).exists()


def test_the_image_has_two_stages_on_a_base_that_can_be_chosen_and_no_compiler():
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}"] * 3
    assert re.search(r"^ARG BASE=python:3\.\d+-slim$", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"\b(gcc|build-essential|python3-dev|libpq-dev)\b", DOCKERFILE)
    assert DOCKERFILE.count("--require-hashes") == 2 and "-r constraints/postgres.txt" in DOCKERFILE


def test_libraries_and_program_are_layers_apart_with_labels():
    """CASES C14: an upgrade of the program is a small layer."""
    copied = re.findall(r"^COPY --from=(\w+) (.+)$", DOCKERFILE.split("FROM ")[-1], re.MULTILINE)
    assert copied == [("libraries", "/opt/claude-relay /opt/claude-relay"), ("program", "/out/ /")]
    assert "claude_relay" not in DOCKERFILE.split("FROM ")[1].split("COPY", 1)[1]
    for label in ("title", "description", "licenses", "version"):
        assert f"org.opencontainers.image.{label}=" in DOCKERFILE


def test_a_tag_builds_the_image_for_both_architectures_and_runs_the_demo_in_it():
    """CASES C14: labels, an SBOM, and nothing is pushed before `demo` has run in the image."""
    steps = yaml.safe_load((ROOT / ".github/workflows/image.yml").read_text(encoding="utf-8"))
    assert steps[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` so
    steps = steps["jobs"]["image"]["steps"]
    builds = [step for step in steps if step.get("uses", "").startswith("docker/build-push-action@")]
    demo = next(index for index, step in enumerate(steps) if " demo" in step.get("run", ""))

    assert [build["with"].get("load") for build in builds] == [True, None]
    assert steps.index(builds[0]) < demo < steps.index(builds[1])
    assert builds[1]["with"]["platforms"] == "linux/amd64,linux/arm64"
    assert builds[1]["with"]["sbom"] is True and "labels" in builds[1]["with"]


def test_attacks_and_an_audit_of_the_libraries_have_jobs_of_their_own():
    """CASES S19: also once a week, since a hole becomes known without a change; the checks are those of .ci/run."""
    checks = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text(encoding="utf-8"))
    runs = {name: [step.get("run", "") for step in job["steps"]] for name, job in checks["jobs"].items()}

    assert checks["permissions"] == {"contents": "read"} and "schedule" in checks[True]
    assert runs["check"][-1] == "bash .ci/run" and runs["attack"][-2:] == ["make deps", "make attack"]
    for file in (ROOT / "constraints").glob("*.txt"):
        assert f"-r constraints/{file.name}" in runs["audit"][-1]


def test_the_image_runs_under_tini_unprivileged_with_a_health_check():
    last = DOCKERFILE.split("FROM ")[-1]

    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert json.loads(re.search(r"^ENTRYPOINT (.+)$", last, re.MULTILINE)[1]) == ["tini", "--", "claude-relay"]
    assert json.loads(re.search(r"^CMD (\[\"serve.+)$", last, re.MULTILINE)[1]) == ["serve", "--with-worker"]
    check = json.loads(re.search(r"HEALTHCHECK .*?CMD (\[.+\])$", last, re.MULTILINE)[1])
    compile(check[2], "HEALTHCHECK", "exec")
    assert "/health" in check[2] and "PORT" in check[2]


@pytest.mark.parametrize(("command", "healthy"), [("worker", True), ("worker --name a", True), ("serve", False)])
def test_the_health_check_of_the_image_fits_the_daemon_of_the_container(monkeypatch, command, healthy):
    """CASES C6, C14, their siblings: a worker by itself has no port, and would be unhealthy for ever."""
    check = json.loads(re.search(r"HEALTHCHECK .*?CMD (\[.+\])$", DOCKERFILE.split("FROM ")[-1], re.MULTILINE)[1])
    main = f"tini -- claude-relay {command}".replace(" ", "\0").encode() + b"\0"
    monkeypatch.setenv("PORT", str(free_port()))
    outcome = contextlib.nullcontext() if healthy else pytest.raises(urllib.error.URLError)

    with outcome:
        exec(check[2], {"open": lambda *_: io.BytesIO(main)})


def test_the_build_context_has_exactly_what_is_copied():
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


def test_the_page_names_only_existing_files():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    pieces = re.findall(r"```bash\n.*?```|`[^`\n]+`", DEPLOY, re.DOTALL)
    # In the server's own files claude-relay is a user and a database.
    code = "\n".join(re.sub(r"#.*|.*(/etc/postgresql/|createdb).*", "", piece) for piece in pieces)

    assert set(re.findall(r"\bRELAY_[A-Z_]+", DEPLOY)) <= SETTINGS
    assert set(re.findall(r"\bmake ([a-z]+)", code)) <= targets | {"python"}
    assert set(re.findall(r"(?<![/\w-])(?<!aG )claude-relay ([a-z]+)", code)) <= set(VERBS)
    for link in re.findall(r"\]\((\.\./[^)#]+)\)", DEPLOY):
        assert (ROOT / "docs" / "how-to" / link).exists(), link
