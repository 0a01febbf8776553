"""The SSRF guard against the whole table, through real processes, with listeners on the private addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.inner_net import Listeners, command
from tests.support.ports import free_port
from tests.support.rig import Rig

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_no_private_address_is_reached_in_a_network_full_of_them() -> None:
    """`guard_table.py` in a network namespace, where every address of the table can have a listener."""
    args = [sys.executable, "-Im", "pytest", "-q", "-p", "no:cacheprovider", "tests/process/guard_table.py"]

    done = subprocess.run(
        command(*args), cwd=ROOT, env={**os.environ, "PYTEST_ADDOPTS": ""}, capture_output=True, text=True, timeout=280
    )

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_loopback_is_not_reached(tmp_path: Path) -> None:
    """The loopback addresses alone, for machines without namespaces: accepted by a permissive API, and not called."""
    port = free_port()
    hosts = ("127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:2]")
    with Listeners(port) as listeners, Rig(tmp_path, RELAY_ALLOW_PRIVATE_URLS="") as rig:
        assert rig.env["RELAY_ALLOW_PRIVATE_URLS"] == ""
        rig.start_api(RELAY_ALLOW_PRIVATE_URLS="0.0.0.0/1,::/1")
        rig.start_worker()
        for n, host in enumerate(hosts):
            url = f"http://{host}:{port}/"
            body = {"requestId": f"r-{n}", "prompt": "Hei", "webhookUrl": url}
            assert rig.submit(body).status_code == 202
            assert rig.submit({"requestId": f"f-{n}", "prompt": "Hei", "files": [{"url": url}]}).status_code == 202
        for n, host in enumerate(hosts):
            eventually(lambda n=n: rig.status(f"r-{n}")["delivery"]["status"] == "dead", within=60)
            [post] = rig.get(f"/api/jobs/r-{n}")["deliveries"]
            assert "which is not a public address" in post["reply"], host
            assert rig.finished(f"f-{n}", within=60)["errorType"] == "invalid_request"

    assert listeners.books == []
