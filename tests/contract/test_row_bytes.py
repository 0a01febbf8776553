"""The space that a row of a collection takes, beside a single job with the same prompt."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import apsw
import pytest

from claude_relay.core.intake import parse
from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier, a_completion
from tests.support.collections import CONTEXT, create

_COUNT = 100
_HOOK = "https://hook.example/in"


@pytest.mark.parametrize("text", ["Fakturaen: Sum 12 500,00 kr, KID 2345676. ", "En lang mail. " * 700])
def test_a_row_takes_the_space_of_a_job(tmp_path: Path, clock: Clock, text: str) -> None:
    """At most a twentieth more, in bytes of tables and indexes; also where the text is longer than the answer."""
    sizes = []
    for kind in ("jobs", "rows"):
        policy = Policy(callback_max=1)  # without the results in the one callback
        relay = Relay(SqliteStore(tmp_path / kind, clock=clock), QuietNotifier(), policy, rng=random.Random(0))
        texts = [f"{text}{number}" for number in range(_COUNT)]
        if kind == "rows":
            create(relay, clock, template={"prompt": "{{text}}"}, rows=[{"text": each} for each in texts], each=True)
        else:
            bodies = [
                {"requestId": f"j:{number}", "prompt": each, "webhookUrl": _HOOK} for number, each in enumerate(texts)
            ]
            relay.submit_many([parse(body, now=clock(), context=CONTEXT) for body in bodies])
        for claimed in relay.execution.claim("w", limit=_COUNT):
            relay.execution.complete(claimed, a_completion("Svar på linje " * 80))
        relay.close()
        with contextlib.closing(apsw.Connection(str(tmp_path / kind))) as store:
            sizes.append(store.execute("SELECT sum(payload) FROM dbstat").get)

    assert sizes[1] <= 1.05 * sizes[0], f"{sizes[1] / sizes[0]:.3f}"
