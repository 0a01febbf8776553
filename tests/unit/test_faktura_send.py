"""examples/faktura/send.sh, run against a server that records requests."""

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from claude_relay.demo import faktura_request
from tests.support.needs import needs

pytestmark = pytest.mark.process

SCRIPT = Path(__file__).parents[2] / "examples" / "faktura" / "send.sh"
WEBHOOK = "https://hook.example/a?b=c&d=e"


@pytest.fixture(autouse=True)
def _programs_of_the_script() -> None:
    needs("bash")
    needs("curl")


class NotingServer(HTTPServer):
    """Answers every POST with one status and records the requests."""

    status = 202
    body: dict[str, Any]
    path: str
    key: str | None


class Note(BaseHTTPRequestHandler):
    server: NotingServer

    def do_POST(self) -> None:
        self.server.path, self.server.key = self.path, self.headers["X-API-Key"]
        self.server.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = json.dumps({"requestId": "abc", "error": "said the relay"}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def relay() -> Iterator[NotingServer]:
    with NotingServer(("127.0.0.1", 0), Note) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), name="noting relay")
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script with only these environment variables."""
    surroundings = {"PATH": os.environ["PATH"], "NO_PROXY": "*", **env}
    return subprocess.run([str(SCRIPT), *args], env=surroundings, capture_output=True, text=True, timeout=60)


def url(relay: NotingServer) -> str:
    return f"http://127.0.0.1:{relay.server_port}"


def test_it_posts_the_request_with_the_webhook_url(relay: NotingServer) -> None:
    done = send(WEBHOOK, RELAY_URL=url(relay) + "/", API_SECRET_KEY="k'$`€y")

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["requestId"] == "abc"
    assert relay.path == "/api/claude"
    assert relay.key is not None and relay.key.encode("latin-1").decode() == "k'$`€y"
    assert relay.body == {"webhookUrl": WEBHOOK, **faktura_request()}


@pytest.mark.parametrize(("status", "code"), [(400, 65), (403, 4), (429, 75), (503, 75), (500, 1)])
def test_a_refusal_shows_the_relays_message_and_has_its_own_exit_code(
    relay: NotingServer, status: int, code: int
) -> None:
    relay.status = status
    done = send(WEBHOOK, RELAY_URL=url(relay), RELAY_API_KEY="key")

    assert (done.returncode, done.stdout) == (code, "")
    assert "said the relay" in done.stderr and f"HTTP {status}" in done.stderr


def test_without_a_relay_the_error_names_its_url() -> None:
    done = send(WEBHOOK, RELAY_URL="http://127.0.0.1:1", RELAY_API_KEY="key")

    assert done.returncode == 69
    assert "http://127.0.0.1:1; is it running?" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        ((), 2, "WEBHOOK_URL is required"),
        (("hook.example",), 2, "must begin with http"),
        ((WEBHOOK, "more"), 2, "expected one URL"),
        (('https://hook.example/"',), 2, "a quote"),
        ((WEBHOOK,), 4, "no key"),
    ],
)
def test_missing_input_is_reported_before_anything_is_sent(args: tuple[str, ...], code: int, word: str) -> None:
    done = send(*args)

    assert (done.returncode, done.stdout) == (code, "")
    assert word in done.stderr and done.stderr.count("\n") == 1


def test_help_shows_the_usage() -> None:
    done = send("--help")

    assert done.returncode == 0
    assert "RELAY_URL" in done.stdout and "#" not in done.stdout
