"""Signatures verified by the npm library of Standard Webhooks, which shares no code with PyPI's."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.deliveries.signing import encode_secret, sign
from tests.support.needs import lacks, needs

SUPPORT = Path(__file__).parents[1] / "support"
NEW, OLD, OTHER = (encode_secret(bytes([number]) * 32) for number in (1, 2, 3))
BODY = '{"requestId":"r-1","response":"Blåbær \\n 🎈","status":"completed"}'.encode()


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[dict[str, Any]]], list[str]]:
    """What the library says of each webhook."""
    node, npm = needs("node", "nodejs"), needs("npm")
    folder = tmp_path_factory.mktemp("npm")
    shutil.copy(SUPPORT / "verify.mjs", folder)
    install = [
        npm,
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
        str(folder),
        "standardwebhooks@1",
    ]
    for left in (2, 1, 0):
        done = subprocess.run(
            install, cwd=folder, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0:
            break
        if not left:
            lacks(f"npm could not install standardwebhooks: {done.stderr.strip().splitlines()[-1:]}")
        time.sleep(2)

    def ask(webhooks: Sequence[dict[str, Any]]) -> list[str]:
        done = subprocess.run(
            [node, "verify.mjs"], cwd=folder, input=json.dumps(webhooks), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    return ask


@pytest.mark.timeout(400)  # with three attempts to install the library
def test_the_npm_library_verifies_what_we_sign(verified: Callable[[Sequence[dict[str, Any]]], list[str]]) -> None:
    """Accepts one secret, or both during a rotation; refuses a third, another body, another id and an old time."""
    now = time.time()

    def webhook(
        secret: str, *, body: bytes = BODY, at: float = now, signed_by: Sequence[str] = (NEW, OLD), **other: str
    ):
        headers = sign("msg_01", at, BODY, signed_by) | other
        return {"secret": secret, "headers": headers, "body": body.decode()}

    answers = verified(
        [
            webhook(NEW, signed_by=[NEW]),
            webhook(NEW),
            webhook(OLD),
            webhook(OTHER),
            webhook(NEW, body=BODY + b" "),
            webhook(NEW, **{"webhook-id": "msg_02"}),
            webhook(NEW, at=now - 600),
        ]
    )

    assert answers[:3] == ["valid"] * 3
    assert all(answer != "valid" for answer in answers[3:])
