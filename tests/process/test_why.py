"""`why` about callbacks that were refused: the receiver's own words, and a command that can succeed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.receiver import Answer, Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process

_GONE = b'\n{\n"code":404,"message":"not registered","hint":"Did you mean to make a GET request?"}'

#: The answer of the receiver, and the parts that `why` shows.
CASES = {
    "302": (Answer(status=302, headers={"Location": "/new?a=1&b=2"}), ["answered 302", "--to '{base}/new?a=1&b=2'"]),
    "307": (Answer(status=307, headers={"Location": "https://other.example/x"}), ["--to https://other.example/x"]),
    "308": (Answer(status=308, headers={"Location": "javascript:x"}), ["--to URL"]),
    "410": (Answer(status=410, body=_GONE), ["GET request?", "--to URL", "result c-410"]),
    "413": (Answer(status=413, body=b"request entity too large"), ["“request entity too large”", "5 MB"]),
    "422": (Answer(status=422, body=b'{"detail": "field required"}\nmore'), ["“{{", 'required"}}”', "both callbacks"]),
    "400": (Answer(status=400, body=b""), ["redeliver c-400   (free)"]),
}


def test_why_shows_the_last_reply_and_a_command_that_can_succeed(tmp_path: Path) -> None:
    """CASES F22, N8, N9, N14: a redirect, a Wait node that is gone, a body that is too large or of another form."""
    with Receiver() as hook, Rig(tmp_path) as rig:
        rig.start()
        for name, (answer, _) in CASES.items():
            hook.answer(f"/{name}", answer)
            rig.submit({"requestId": f"c-{name}", "prompt": "Hei", "webhookUrl": hook.url(f"/{name}")})
        for name in CASES:
            eventually(lambda name=name: rig.status(f"c-{name}")["delivery"]["status"] == "dead", within=60)

        base = hook.url("/").rstrip("/")
        shown = {name: rig.command("why", f"c-{name}").stdout for name in CASES}
        wanted = {name: [part.format(base=base) for part in parts] for name, (_, parts) in CASES.items()}
        assert [
            (name, part, shown[name]) for name, parts in wanted.items() for part in parts if part not in shown[name]
        ] == []

        command = shlex.split(shown["302"].rpartition("Next: claude-relay ")[2].replace("(free)", ""))
        assert rig.command(*command).returncode == 0
        assert hook.wait_for(1, path="/new", timeout=60)
