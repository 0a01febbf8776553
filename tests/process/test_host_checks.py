"""Faults of the host that end the start of a daemon with a sentence, and that `config check` finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.rig import Rig

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    "name, value",
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("NO_PROXY", "localhost,[::1]"),
        ("no_proxy", "fd00::/8"),
        ("HTTPS_PROXY", '"http://127.0.0.1:3128"'),
        ("https_proxy", "proxy.example:port"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_DIR", "/nowhere"),
    ],
)
def test_an_http_client_that_cannot_be_built_is_found_at_the_start(tmp_path: Path, name: str, value: str) -> None:
    """CASES F3: it would fail every job. `config check` and `worker` exit 78 and name the variable as it was set."""
    rig = Rig(tmp_path, RELAY_PROVIDER="sandbox", **{name: value})
    ended = [rig.command(*command) for command in (["config", "check"], ["worker"])]

    assert [(item.returncode, f"{name} in the environment" in item.stderr + item.stdout) for item in ended] == [
        (78, True)
    ] * 2


def test_usable_proxies_are_no_fault(tmp_path: Path) -> None:
    usable = {"HTTPS_PROXY": "http://u:p@127.0.0.1:3128", "NO_PROXY": "localhost, .example.com,10.0.0.0/8,::1"}
    checked = Rig(tmp_path, RELAY_PROVIDER="sandbox", **usable).command("config", "check")

    assert (checked.returncode, checked.stderr) == (0, "The settings are good.\n")


@pytest.mark.parametrize(
    "environ, code",
    [
        ({}, 78),
        ({"RAILWAY_VOLUME_MOUNT_PATH": "/data"}, 78),
        ({"RAILWAY_VOLUME_MOUNT_PATH": "{folder}"}, 0),
        ({"RELAY_STORE": "postgresql://u@127.0.0.1:1/x"}, 75),
    ],
)
def test_a_service_on_railway_needs_a_volume(tmp_path: Path, environ: dict[str, str], code: int) -> None:
    """CASES C13: otherwise all but the calls in flight is gone after a redeploy. Jobs in PostgreSQL need none."""
    store = {"RELAY_STORE": f"sqlite:///{tmp_path}/jobs/relay.db", "RAILWAY_ENVIRONMENT": "production"}
    given = {name: value.format(folder=tmp_path) for name, value in environ.items()}
    rig = Rig(tmp_path, RELAY_PROVIDER="sandbox", **{**store, **given})
    checked = rig.command("config", "check")
    assert (checked.returncode == 78) == (code == 78), checked.stderr
    if code == 78:
        assert "Railway" in checked.stderr and "mount" in checked.stderr.lower()
        assert rig.command("serve", "--with-worker").returncode == 78
        assert not (tmp_path / "jobs").exists()
