"""
The workflows for n8n in a real n8n, against a relay with the sandbox: a sheet, and a folder of invoices.

    python -m tests.prove_n8n [--n8n PROGRAM] [--rows N] [--folder DIR]

Without `--n8n` it is installed by npm, which takes some minutes and two gigabytes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.rig import Rig

_INVOICES = Path(__file__).parents[1] / "examples" / "faktura"
_OWNER = {"email": "owner@example.com", "firstName": "Kari", "lastName": "Nordmann", "password": "Passord123"}
_WITHIN = 180.0


class N8n:
    """A running n8n, driven as its editor does."""

    def __init__(self, url: str) -> None:
        self._url, self._http = url, requests.Session()
        self._http.headers["push-ref"] = "proof"
        eventually(self._is_ready, within=_WITHIN, every=1)
        self._post("owner/setup", _OWNER)

    def add(self, workflow: dict[str, Any]) -> dict[str, Any]:
        """Import a workflow as a file."""
        added: dict[str, Any] = self._post("workflows", {**workflow, "active": False, "settings": {}})
        return added

    def run(self, workflow: dict[str, Any], trigger: str) -> None:
        """Press the button of a manual trigger."""
        self._post(
            f"workflows/{workflow['id']}/run", {"workflowData": workflow, "triggerToStartFrom": {"name": trigger}}
        )

    def activate(self, workflow: dict[str, Any]) -> None:
        """Switch it on."""
        self._post(f"workflows/{workflow['id']}/activate", {"versionId": workflow["versionId"], "name": "1"})

    def send_form(self, workflow: dict[str, Any], files: list[Path]) -> None:
        """Drop files onto the page of its form trigger."""
        [trigger] = [node for node in workflow["nodes"] if node["type"].endswith("formTrigger")]
        parts = [("field-0", (path.name, path.read_bytes(), "application/pdf")) for path in files]
        page = f"{self._url}/form/{trigger['webhookId']}"
        eventually(lambda: requests.get(page, timeout=60).ok, within=60, every=1)
        requests.post(page, files=parts, timeout=60).raise_for_status()

    def outcome(self, workflow: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Wait for the end of its execution; the items that each node was reached with, by its name."""
        seen: list[dict[str, Any]] = []

        def ended() -> bool:
            query = {"filter": json.dumps({"workflowId": workflow["id"]})}
            seen[:] = self._get("executions", query)["results"]
            return bool(seen) and seen[0]["status"] not in ("new", "running", "waiting")

        eventually(ended, within=_WITHIN, every=1)
        runs = _unflattened(json.loads(self._get(f"executions/{seen[0]['id']}")["data"]))["resultData"]["runData"]

        return {name: [item["json"] for run in each for item in _items(run)] for name, each in runs.items()}

    def _is_ready(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            response = self._http.get(f"{self._url}/rest/settings", timeout=5)
            return response.ok and "json" in response.headers["Content-Type"]  # a page until it has started
        return False

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        response = self._http.post(f"{self._url}/rest/{path}", json=body, timeout=60)
        assert response.ok, f"{path}: {response.text[:500]}"
        return response.json().get("data")

    def _get(self, path: str, params: dict[str, str] | None = None) -> Any:
        response = self._http.get(f"{self._url}/rest/{path}", params=params, timeout=60)
        assert response.ok, f"{path}: {response.text[:500]}"
        return response.json()["data"]


def _items(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for output in (run.get("data") or {}).get("main") or ():
        yield from output or ()


def _unflattened(parts: list[Any]) -> Any:
    """The value that n8n stores in the form of the npm package flatted: strings are the places of values."""
    made: dict[int, Any] = {}

    def at(place: int) -> Any:
        if place in made:
            return made[place]
        part = parts[place]
        if isinstance(part, dict):
            made[place] = {}
            made[place].update(
                {key: at(int(child)) if isinstance(child, str) else child for key, child in part.items()}
            )
        elif isinstance(part, list):
            made[place] = []
            made[place].extend(at(int(child)) if isinstance(child, str) else child for child in part)
        else:
            made[place] = part
        return made[place]

    sys.setrecursionlimit(20_000)
    return at(0)


def prove_the_sheet(rig: Rig, n8n: N8n, count: int) -> None:
    """Rows in, one callback, rows out; every fiftieth fails and takes its own route."""
    (rig.folder / "sheet.json").write_text('{"prompt": "Les {{text}}"}')
    rig.command("template", "save", "sheet", str(rig.folder / "sheet.json"))
    workflow = _written(rig, "--variant", "sheet", "--template", "sheet")["n8n-sheet.json"]
    [rows] = [node for node in workflow["nodes"] if node["name"] == "Rows"]
    rows["parameters"]["jsCode"] = (
        f"return Array.from({{length: {count}}}, (_, i) => ({{json: {{nr: i + 1,"
        " text: (i + 1) % 50 ? 'rad \"æ\" ' + (i + 1) : '[sandbox: refuse]'}}));"
    )
    added = n8n.add(workflow)
    n8n.run(added, "Start")
    outcome = n8n.outcome(added)
    [status] = rig.http.get(f"{rig.url}/api/collections").json()["collections"]
    good, failed = outcome.get("Result rows", []), outcome.get("Failed rows", [])

    assert (status["total"], status["failed"]) == (count, count // 50) and status["acked"], status
    assert [row["nr"] for row in good] == [number for number in range(1, count + 1) if number % 50]
    assert all(f'Les rad "æ" {row["nr"]}' in row["response"] for row in good)
    assert [row["nr"] for row in failed] == list(range(50, count + 1, 50)) and all(row["error"] for row in failed)
    assert len(outcome["Submit"]) == len(outcome["Outcome"]) == 1
    print(f"sheet: {count} rows in one request, one callback, {len(failed)} on the route of failed rows")


def prove_the_invoices(rig: Rig, n8n: N8n) -> None:
    """Files of a form; the two whose checks fail go to a person, with the difference."""
    rig.command("template", "save", "faktura", str(_INVOICES / "template.json"))
    added = n8n.add(_written(rig, "--variant", "invoice", "--template", "faktura")["n8n-invoice.json"])
    n8n.activate(added)
    files = sorted((_INVOICES / "fakturaer").glob("*.pdf"))
    n8n.send_form(added, files)
    outcome = n8n.outcome(added)
    person = {item["file"]: item["failedChecks"] for item in outcome["To a person"]}

    assert sorted(item["file"] for item in outcome["Good"]) == [path.name for path in files if path.name not in person]
    assert [name[:2] for name in sorted(person)] == ["17", "21"] and "difference -900" in person[min(person)], person
    print(f"invoices: {len(outcome['Good'])} good, {len(person)} to a person")


def _written(rig: Rig, *args: str) -> dict[str, Any]:
    output = rig.command("blueprint", "n8n", "--url", rig.url, "--with-key", "-o", str(rig.folder / "n8n"), *args)
    assert output.returncode == 0, output.stderr

    return {Path(line).name: _without_id(json.loads(Path(line).read_text())) for line in output.stdout.split()}


def _without_id(workflow: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in workflow.items() if key != "id"}


def _installed(folder: Path) -> Path:
    packages = ("n8n", "node@24")  # n8n refuses the Node of Debian 12
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages], check=True)

    return folder / "node_modules" / "n8n" / "bin" / "n8n"


@contextlib.contextmanager
def _started(program: Path, folder: Path) -> Iterator[N8n]:
    port, broker = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    own_node = [parent / "node" / "bin" for parent in program.absolute().parents if (parent / "node" / "bin").is_dir()]
    env = {
        "PATH": os.pathsep.join([*map(str, own_node), os.environ["PATH"]]),
        "HOME": str(folder),
        "N8N_USER_FOLDER": str(folder),
        "N8N_PORT": str(port),
        "N8N_LISTEN_ADDRESS": "127.0.0.1",
        "N8N_RUNNERS_BROKER_PORT": str(broker),
        "WEBHOOK_URL": f"{url}/",
        "N8N_SECURE_COOKIE": "false",
        **dict.fromkeys(
            ("N8N_DIAGNOSTICS_ENABLED", "N8N_VERSION_NOTIFICATIONS_ENABLED", "N8N_TEMPLATES_ENABLED"), "false"
        ),
    }
    with (folder / "n8n.log").open("wb") as log:
        node = shutil.which("node", path=env["PATH"]) or "node"
        process = subprocess.Popen([node, str(program), "start"], env=env, stdout=log, stderr=log)
    try:
        yield N8n(url)
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--n8n", type=Path, help="the program of an installed n8n")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="for everything that is made; else a temporary one")
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        program = args.n8n or _installed(folder / "npm")
        for part in ("relay", "n8n"):
            (folder / part).mkdir()
        port = free_port()
        with Rig(folder / "relay", RELAY_PUBLIC_URL=f"http://127.0.0.1:{port}") as rig:
            rig.start_api(PORT=str(port))
            rig.start_worker()
            with _started(program, folder / "n8n") as n8n:
                prove_the_sheet(rig, n8n, args.rows)
                prove_the_invoices(rig, n8n)
    print(f"proved in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
