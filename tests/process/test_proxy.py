"""The recipes of examples/proxy as they stand, with real proxies in front of a real API."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

from tests.support.eventually import eventually
from tests.support.needs import needs
from tests.support.ports import free_port
from tests.support.rig import KEY, Rig

pytestmark = pytest.mark.process

RECIPES = Path(__file__).parents[2] / "examples" / "proxy"
NAME = "relay.example.com"


@pytest.fixture(scope="module")
def relay(tmp_path_factory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("relay")
    fields = {"RELAY_TRUSTED_PROXY": "127.0.0.1", "RELAY_PUBLIC_URL": f"https://{NAME}", "RELAY_RATE_LIMIT": "3/1m"}
    with Rig(folder, **fields) as rig:
        rig.start_api()
        yield rig


class Front:
    """The proxy as callers reach it: by its name, from an address of this machine."""

    def __init__(self, port: int, authority: Path) -> None:
        self.port, self.authority = port, authority

    def ask(self, method: str, path: str, *, source: str = "127.0.0.1", **more) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("https://", _From(source, NAME))
            more["headers"] = {"Host": NAME, **more.get("headers", {})}
            url = f"https://127.0.0.1:{self.port}{path}"
            return session.request(method, url, verify=str(self.authority), timeout=30, **more)


class _From(HTTPAdapter):
    """Connects from that address, and checks the certificate for that name."""

    def __init__(self, source: str, name: str) -> None:
        self._source, self._name = source, name
        super().__init__()

    def init_poolmanager(self, *args, **more):
        super().init_poolmanager(
            *args, **more, source_address=(self._source, 0), server_hostname=self._name, assert_hostname=self._name
        )


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def front(request, relay) -> Iterator[Front]:
    program = needs(request.param, "nginx-light" if request.param == "nginx" else "caddy")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert(NAME)
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "key.pem")
    port, backend = free_port(), relay.url.rpartition(":")[2]
    write = _nginx if request.param == "nginx" else _caddy
    command = write(program, folder, port=port, backend=backend)
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={"PATH": os.environ["PATH"], "HOME": str(folder)}
        )
    try:
        eventually(lambda: _open(port) or _ended(process, log), within=60)
        yield Front(port, folder / "ca.pem")
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder)


def _nginx(program: str, folder: Path, *, port: int, backend: str) -> list[str]:
    """The recipe with this test's ports and certificate; nothing else of it is changed."""
    text = (RECIPES / "nginx.conf").read_text()
    text = re.sub(r"listen (\[::\]:)?80;", "", text).replace(
        f"server_name {NAME};\n    return 308", f"listen 127.0.0.1:{free_port()};\n    return 308"
    )
    text = re.sub(r"    listen \[::\]:443.*\n", "", text).replace("listen 443", f"listen 127.0.0.1:{port}")
    text = text.replace("127.0.0.1:3000", f"127.0.0.1:{backend}")
    text = re.sub(r"/etc/letsencrypt/\S+;", f"{folder}/key.pem;", text)
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = folder / "nginx.conf"
    conf.write_text(
        f"daemon off; user root; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {paths}\n{text}\n}}\n"
    )
    return [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(conf)]


def _caddy(program: str, folder: Path, *, port: int, backend: str) -> list[str]:
    text = (RECIPES / "Caddyfile").read_text().replace("127.0.0.1:3000", f"127.0.0.1:{backend}")
    text = text.replace(f"{NAME} {{", f"{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {folder}/key.pem {folder}/key.pem", 1)
    file = folder / "Caddyfile"
    file.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}/data\n}}\n{text}")
    return [program, "run", "--config", str(file), "--adapter", "caddyfile"]


def _open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _ended(process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"the proxy ended by itself:\n{log.read_text()}")
    return False


def test_a_job_comes_through(front):
    taken = front.ask("POST", "/api/claude", json={"prompt": "x"}, headers={"X-API-Key": KEY})

    assert taken.status_code == 202, taken.text
    assert taken.headers["Location"].startswith((f"https://{NAME}/api/status/", "/api/status/"))


def test_clients_are_distinguished_by_their_address_whatever_they_send(front, request):
    """Three wrong keys a minute each: another X-Forwarded-For each time does not make another client."""
    number = {"nginx": 10, "caddy": 20}[request.node.callspec.params["front"]]

    def guess(source: str, turn: int) -> int:
        lies = {"X-Forwarded-For": f"192.0.2.{turn}", "Forwarded": f"for=192.0.2.{turn}", "X-API-Key": f"wrong-{turn}"}
        return front.ask("GET", "/api/jobs", source=source, headers=lies).status_code

    item, other = f"127.0.0.{number}", f"127.0.0.{number + 1}"

    assert [guess(item, turn) for turn in range(5)] == [403, 403, 403, 429, 429]
    assert guess(other, 9) == 403


def test_forwarded_headers_are_ignored_without_the_proxy(relay):
    """Straight to the port, from an address that is not the proxy's."""

    def guess(turn: int) -> int:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", _From("127.0.0.30", "x"))
            fields = {"X-Forwarded-For": f"192.0.2.{100 + turn}", "X-API-Key": f"wrong-{turn}"}
            return session.get(f"{relay.url}/api/jobs", headers=fields, timeout=60).status_code

    assert [guess(turn) for turn in range(5)] == [403, 403, 403, 429, 429]


def test_a_body_that_is_too_large_gets_the_relay_s_own_error(front, tmp_path):
    """By curl over HTTP/1.1, which asks before it sends so much; others may see the connection close instead."""
    body = tmp_path / "body.json"
    body.write_bytes(b'{"prompt": "' + b"x" * (32 * 2**20) + b'"}')
    command = [
        needs("curl"),
        "--silent",
        "--http1.1",
        "--cacert",
        str(front.authority),
        "--write-out",
        "\n%{http_code}",
    ]
    command += ["--connect-to", f"{NAME}:443:127.0.0.1:{front.port}", "--header", "Content-Type: application/json"]
    command += ["--header", f"X-API-Key: {KEY}", "--data-binary", f"@{body}", f"https://{NAME}/api/claude"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    body_text, _, status = done.stdout.rpartition("\n")

    assert status == "413", done.stdout
    assert json.loads(body_text)["type"] == "too_large"
    assert json.loads(body_text).keys() == {"error", "message", "status", "type", "problems"}


def test_the_recipes_wait_longer_than_the_relay_does():
    """`Prefer: wait=55`, and a keep-alive every 15 seconds."""
    assert int(re.search(r"proxy_read_timeout (\d+)s", (RECIPES / "nginx.conf").read_text())[1]) > 60
    assert int(re.search(r"response_header_timeout (\d+)s", (RECIPES / "Caddyfile").read_text())[1]) > 60
