"""`multipart/form-data`, as curl -F, Postman, browsers and n8n send files: the same job as the same body in JSON."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from falcon.testing import TestClient

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.config import Settings
from claude_relay.services import Relay
from tests.support.live_api import serving
from tests.support.pdfs import a_pdf

KEY = "the-key-of-these-tests"
PDF = a_pdf(2)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
BOUNDARY = "x-boundary-x"


@pytest.fixture
def url(relay: Relay) -> Iterator[str]:
    """A real server with bodies of at most a megabyte."""
    settings = Settings(api_secret_key=KEY, rate_limit=None, rate_limit_submit=None, max_body=1_000_000)
    app = make_app(relay, settings, intake=wiring.intake_context(settings, relay))
    with serving(app, settings) as (host, port):
        yield f"http://{host}:{port}"


def part(name: str | None, content: bytes, *, file: str | None = None, kind: str | None = None) -> bytes:
    disposition = "form-data" + (f'; name="{name}"' if name else "") + (f'; filename="{file}"' if file else "")
    head = f"Content-Disposition: {disposition}\r\n" + (f"Content-Type: {kind}\r\n" if kind else "")
    return f"--{BOUNDARY}\r\n{head}\r\n".encode() + content + b"\r\n"


def post(client: TestClient, *parts: bytes, path: str = "/api/claude", end: bytes = b"", **fields: Any) -> Any:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **fields}
    return client.simulate_post(path, body=b"".join(parts) + (end or f"--{BOUNDARY}--\r\n".encode()), headers=headers)


def test_fields_and_files_are_the_same_job_as_in_json(client: TestClient, relay: Relay) -> None:
    """CASES N6: names in brackets or with dots, several files, and names of files in UTF-8 and with a path."""
    body = {
        "requestId": "r",
        "prompt": "Les dette\r\nblåbær",
        "options": {"model": "claude-haiku-4-5", "maxTokens": 100},
        "metadata": {"a": {"b": "1"}},
        "files": [
            {"data": base64.b64encode(PDF).decode(), "name": "fåktura.pdf", "mediaType": "application/pdf"},
            {"data": base64.b64encode(PNG).decode(), "name": "b.png"},
        ],
    }
    first = client.simulate_post("/api/claude", json=body)
    again = post(
        client,
        part("requestId", b"r"),
        part("prompt", "Les dette\r\nblåbær".encode()),
        part("options[model]", b"claude-haiku-4-5"),
        part("options.maxTokens", b"100"),
        part("metadata[a][b]", b"1"),
        part("files", PDF, file="fåktura.pdf", kind="application/pdf"),
        part("data", PNG, file="C:\\\\pictures\\\\b.png", kind="application/octet-stream"),
    )

    assert (first.status_code, again.status_code) == (202, 202), again.json
    assert again.json["duplicate"] is True


def test_a_text_field_may_come_as_a_file(client: TestClient, relay: Relay) -> None:
    """`curl -F prompt=@prompt.txt`; a schema as a JSON part; a file field without a file."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    answer = post(
        client,
        part("requestId", b"r"),
        part("prompt", b"\xef\xbb\xbfHei", file="prompt.txt", kind="text/plain"),
        part("options[outputSchema]", json.dumps(schema).encode(), file="s.json", kind="application/json"),
        part("options[systemPrompt]", "Blåbær".encode("latin-1"), kind="text/plain; charset=ISO-8859-1"),
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename=""\r\n\r\n\r\n'.encode(),
    )
    assert answer.status_code == 202, answer.json
    request = client.simulate_get("/api/jobs/r").json["request"]

    assert request["prompt"] == "Hei"
    assert request["options"]["outputSchema"] == schema
    assert request["options"]["systemPrompt"] == "Blåbær"
    assert not request.get("files")


@pytest.mark.parametrize(
    ("parts", "end", "field", "problem"),
    [
        ([part("prompt", b"Hei"), part("files", b"", file="a.pdf")], b"", "files[0].data", "is an empty file"),
        ([part("prompt", b"Hei"), part("files", b"hello", file="a.txt")], b"", "files[0].data", "Claude reads"),
        ([part("prompt", b"\xff\xfe")], b"", "prompt", "is not text in UTF-8"),
        ([part("prompt", b"x", kind="text/plain; charset=punycode")], b"", "prompt", "punycode: send it as UTF-8"),
        ([part(None, b"Hei")], b"", "body", "a part without a name"),
        ([part("prompt", b"Hei")], b"\r\n", "body", "incomplete"),
        ([b"--other\r\n\r\n"], b"--other--", "body", "incomplete or has no such boundary"),
        ([], b"nothing", "body", "incomplete or has no such boundary"),
        ([part("a", b"1")] * 1001, b"", "body", "maximum number of form body parts"),
        ([part("x" * 9000, b"1")], b"", "body", "incomplete body part headers"),
        ([part("prompt", b"Hei"), part("files", b"[]"), part("files", b"{}")], b"", "files", "given twice"),
        ([part("prompt", b"Hei"), part("files.a", b"1"), part("f", PDF, file="a.pdf")], b"", "files", "given both"),
    ],
)
def test_a_form_that_cannot_be_read_is_a_400_in_words(
    client: TestClient, parts: list[bytes], end: bytes, field: str, problem: str
) -> None:
    """CASES N6"""
    answer = post(client, *parts, end=end)

    assert answer.status_code == 400, answer.json
    assert answer.json["problems"][0]["field"] == field
    assert problem in answer.json["error"]


@pytest.mark.parametrize("parameter", ["", "; boundary=", "; boundary=" + "b" * 300])
def test_a_form_without_a_boundary_is_a_400(client: TestClient, parameter: str) -> None:
    """As sent by a client whose user sets the Content-Type by hand."""
    kind = f"multipart/form-data{parameter}"
    answer = client.simulate_post("/api/claude", body=part("prompt", b"Hei"), headers={"Content-Type": kind})

    assert (answer.status_code, "boundary" in answer.json["error"]) == (400, True), answer.json


def test_an_estimate_takes_the_same_form(client: TestClient) -> None:
    """It shares the intake of submit."""
    answer = post(client, part("prompt", b"Hei"), part("files", PDF, file="a.pdf"), path="/api/estimate")

    assert (answer.status_code, answer.json["basis"]) == (200, "estimate")


def test_requests_and_curl_send_files(url: str, relay: Relay, tmp_path: Path) -> None:
    """CASES N6, over a real socket; a body over the limit is refused as every other."""
    path, headers = tmp_path / "fåktura.pdf", {"X-API-Key": KEY}
    path.write_bytes(PDF)
    answer = requests.post(
        f"{url}/api/claude",
        headers=headers,
        data={"prompt": "Les", "requestId": "a", "metadata[a][b]": "1"},
        files=[("files", ("fåktura.pdf", path.open("rb"), "application/pdf"))],
        timeout=60,
    )
    assert answer.status_code == 202, answer.text
    big = requests.post(
        f"{url}/api/claude",
        headers=headers,
        data={"prompt": "Les"},
        files={"files": ("a.pdf", bytes(1_000_000))},
        timeout=60,
    )
    assert big.status_code == 413
    if (curl := shutil.which("curl")) is not None:
        command = [curl, "-sS", "-H", f"X-API-Key: {KEY}", "-F", "prompt=Les", "-F", "requestId=b"]
        command += ["-F", f"files=@{path}", "-F", "metadata[a][b]=1", f"{url}/api/claude"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert json.loads(done.stdout)["requestId"] == "b", done
    for request_id in ("a", "b")[: 1 if curl is None else 2]:
        record = requests.get(f"{url}/api/jobs/{request_id}", headers=headers, timeout=60).json()
        assert record["metadata"] == {"a": {"b": "1"}}
        [file] = record["request"]["files"]
        assert (file["name"], file["mediaType"]) == ("fåktura.pdf", "application/pdf")
