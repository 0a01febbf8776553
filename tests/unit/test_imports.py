"""The import table: the layers that each layer may import, and the libraries of each."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.sources import FILES, PACKAGE, name_of, tree_of

SANDBOX = sorted((PACKAGE / "sandbox").rglob("*.py"))

_LEAVES = {"core", "errors"}
_OUTER = {
    "services",
    "core",
    "ports",
    "errors",
    "logs",
    "config",
    "failpoints",
    "systemd",
    "__init__",
    "file_owner",
}
_CLI = _OUTER | {"container", "events", "cli", "wiring", "demo", "blueprints", "__init__"}

#: layer: (other layers it may import, third-party libraries)
TABLE: dict[str, tuple[set[str], set[str]]] = {
    "__init__": (set(), set()),
    "__main__": ({"cli", "garbage"}, set()),
    "garbage": (set(), set()),
    "core": (_LEAVES, set()),
    "errors": (set(), set()),
    "failpoints": ({"errors"}, set()),
    "self_command": (set(), set()),
    "malloc": (set(), set()),
    "bounded_response": (set(), set()),
    "container": (set(), set()),
    "file_owner": ({"container"}, set()),
    "ports": (_LEAVES, set()),
    "services": (_LEAVES | {"ports", "failpoints"}, set()),
    "events": (_LEAVES | {"ports", "services"}, set()),
    "storage": (_LEAVES | {"ports", "file_owner"}, {"apsw", "cryptography", "psycopg"}),
    "notify": (_LEAVES | {"ports", "file_owner"}, {"persistqueue", "psycopg"}),
    "claude": (
        _LEAVES | {"ports", "bounded_response"},
        {"anthropic", "httpx2", "httpcore2", "jsonschema", "referencing", "regex", "pypdf"},
    ),
    "webhooks": (_LEAVES | {"ports", "bounded_response", "__init__"}, {"certifi", "idna"}),
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


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """("ours", layer) or ("theirs", library) for each import anywhere in the file."""
    package = ("claude_relay", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree_of(path)):
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
OUTSIDE_SERVICES = [path for path in FILES if layer_of(path) in ("api", "cli", "dashboard", "worker")]


def test_a_module_imports_only_allowed_layers_and_libraries() -> None:
    for path in FILES:
        layer = layer_of(path)
        ours, theirs = TABLE[layer]
        allowed = {"ours": {layer, *ours}, "theirs": theirs}
        for kind, name in imported(path):
            assert name in allowed[kind], f"{name_of(path)}: {layer} may not import {name}"


def test_the_outer_layers_import_services_only_as_a_package() -> None:
    """`Relay` is the one entry: the modules of `services` are its implementation."""
    for path in OUTSIDE_SERVICES:
        for line, name in _modules_named(path):
            module = name.removeprefix("claude_relay.services.")
            inside = module != name and module in SERVICE_MODULES
            assert not inside, f"{name_of(path)}:{line} imports services.{module}"


def _modules_named(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that an import of the file may name, with its line."""
    package = ("claude_relay", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*start, *(node.module.split(".") if node.module else ())))
            names = [stem, *(f"{stem}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from ((node.lineno, name) for name in names)


def test_only_the_adapter_imports_the_sdk() -> None:
    """No other layer imports anthropic, not even lazily."""
    assert {layer_of(path) for path in FILES if ("theirs", "anthropic") in imported(path)} == {"claude"}


def test_the_sandbox_imports_nothing_else_of_the_package() -> None:
    """It is an independent oracle: a shared helper would share its bugs with the code under test."""
    code = "import sys, claude_relay.sandbox; print(*(name for name in sys.modules if name.startswith('claude_relay')))"
    run = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)

    assert {name.split(".")[1] for name in run.stdout.split() if "." in name} == {"sandbox"}
    assert not any(kind == "ours" and name != "sandbox" for path in SANDBOX for kind, name in imported(path))


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(path): lines for path in FILES if (lines := len(path.read_text().splitlines())) > 400}

    assert not long


def test_the_api_begins_without_the_libraries_of_its_pages() -> None:
    """Two megabytes that most API processes never need: the templates are imported for the first page."""
    code = "import sys, claude_relay.api.serve, claude_relay.dashboard.mount; print('jinja2' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "False"
