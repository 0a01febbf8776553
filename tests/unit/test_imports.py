"""The import table: the layers that each layer may import, and the libraries of each."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "claude_relay"
SANDBOX = sorted((PACKAGE / "sandbox").rglob("*.py"))

_LEAVES = {"core", "errors"}
_OUTER = {"services", "core", "ports", "errors", "logs", "config", "failpoints", "systemd", "__init__", "file_owner"}
_CLI = _OUTER | {"events", "cli", "wiring", "demo", "blueprints", "__init__"}

#: layer: (other layers it may import, third-party libraries)
TABLE: dict[str, tuple[set[str], set[str]]] = {
    "__init__": (set(), set()),
    "__main__": ({"cli"}, set()),
    "core": (_LEAVES, set()),
    "errors": (set(), set()),
    "failpoints": ({"errors"}, set()),
    "self_command": (set(), set()),
    "malloc": (set(), set()),
    "file_owner": (set(), set()),
    "ports": (_LEAVES, set()),
    "services": (_LEAVES | {"ports", "failpoints"}, set()),
    "events": (_LEAVES | {"ports", "services"}, set()),
    "storage": (_LEAVES | {"ports", "file_owner"}, {"apsw", "cryptography", "psycopg"}),
    "notify": (_LEAVES | {"ports", "file_owner"}, {"persistqueue", "psycopg"}),
    "claude": (
        _LEAVES | {"ports"},
        {"anthropic", "httpx2", "httpcore2", "jsonschema", "referencing", "regex", "pypdf"},
    ),
    "webhooks": (_LEAVES | {"ports", "__init__"}, {"requests", "urllib3", "idna"}),
    "sandbox": (set(), {"regex"}),
    "otel": (_LEAVES | {"ports"}, {"opentelemetry"}),
    "demo": (set(), set()),
    "blueprints": (set(), set()),
    "worker": (_OUTER, {"tenacity"}),
    "api": (_OUTER | {"events"}, {"falcon", "waitress", "prometheus_client"}),
    "dashboard": (_OUTER | {"api", "events"}, {"falcon", "jinja2", "markupsafe"}),
    "cli": (_CLI | {"storage"}, {"click", "rich", "requests", "tenacity"}),
    "config": (_LEAVES | {"__init__"}, {"dotenv"}),
    "logs": (_LEAVES, set()),
    "systemd": ({"self_command"}, set()),
    "wiring": ({path.stem for path in PACKAGE.iterdir()}, {"jsonschema", "falcon"}),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """("ours", layer) or ("theirs", library) for each import anywhere in the file."""
    package = ("claude_relay", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            stem = (*start, *(node.module.split(".") if node.module else ()))
            names = [(*stem, alias.name) for alias in node.names] if len(stem) <= 1 else [stem]
        for name in names:
            if name[0] == "claude_relay":
                layer = name[1] if len(name) > 1 else "__init__"
                yield "ours", layer if (PACKAGE / layer).exists() or (PACKAGE / f"{layer}.py").exists() else "__init__"
            elif name[0] not in sys.stdlib_module_names:
                yield "theirs", name[0]


#: Modules of the use cases, and the files that may import them only through their package.
SERVICE_MODULES = {path.stem for path in (PACKAGE / "services").glob("*.py")} - {"__init__"}
OUTSIDE_SERVICES = [path for path in modules() if layer_of(path) in ("api", "cli", "dashboard", "worker")]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_allowed_layers_and_libraries(path: Path) -> None:
    layer = layer_of(path)
    ours, theirs = TABLE[layer]
    for kind, name in imported(path):
        if kind == "ours":
            assert name == layer or name in ours, f"{layer} may not import {name}"
        else:
            assert name in theirs, f"{layer} may not import {name}"


@pytest.mark.parametrize("path", OUTSIDE_SERVICES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_outer_layers_import_services_only_as_a_package(path: Path) -> None:
    """`Relay` is the one entry: the modules of `services` are its implementation."""
    relative = path.relative_to(PACKAGE)
    package = ("claude_relay", *relative.parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules_named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*start, *(node.module.split(".") if node.module else ())))
            modules_named = [stem, *(f"{stem}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in modules_named:
            module = name.removeprefix("claude_relay.services.")
            assert module == name or module not in SERVICE_MODULES, f"line {node.lineno} imports services.{module}"


def test_only_the_adapter_imports_the_sdk() -> None:
    """No other layer imports anthropic, not even lazily."""
    assert {layer_of(path) for path in modules() if ("theirs", "anthropic") in imported(path)} == {"claude"}


def test_the_sandbox_imports_nothing_else_of_the_package() -> None:
    """It is an independent oracle: a shared helper would share its bugs with the code under test."""
    code = "import sys, claude_relay.sandbox; print(*(name for name in sys.modules if name.startswith('claude_relay')))"
    run = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)

    assert {name.split(".")[1] for name in run.stdout.split() if "." in name} == {"sandbox"}
    assert not any(kind == "ours" and name != "sandbox" for path in SANDBOX for kind, name in imported(path))


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(path): lines for path in modules() if (lines := len(path.read_text().splitlines())) > 400}

    assert not long
