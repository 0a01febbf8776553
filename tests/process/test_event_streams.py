"""Event streams from a real worker through a real API process, and the verbs that follow them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from benchmarks.texts import measure
from claude_relay.events.messages import decode
from tests.support.fake_claude import FakeClaude, Wait, head, started, stopped, written
from tests.support.rig import KEY, Rig

pytestmark = pytest.mark.process


def test_text_is_seen_while_the_upstream_pauses(tmp_path: Path) -> None:
    """The second piece is in no checkpoint, as none is written before a further event: the direct channel brings it."""
    go_on, seen = threading.Event(), threading.Event()
    upstream = FakeClaude().start()
    upstream.then(
        head(), started(), *written("Once "), Wait(seen), *written("upon "), Wait(go_on), *written("a time"), *stopped()
    )
    try:
        with Rig(tmp_path, upstream=upstream.url).start() as rig:
            rig.submit({"prompt": "Hei", "requestId": "r-1"})
            response = rig.http.get(f"{rig.url}/api/jobs/r-1/events", stream=True, timeout=60)
            texts = (m for m in decode(response.iter_lines(decode_unicode=True)) if m.name in ("text", "end"))
            first = next(texts)
            seen.set()
            second = next(texts)
            tail = verb(rig, "tail", "-f", "r-1")
            wait = verb(rig, "wait", "r-1", "--timeout", "60s", remote=True)
            assert (second.data["offset"], second.data["text"]) == (5, "upon ")
            go_on.set()
            rest = list(texts)
            assert first.data["text"] + second.data["text"] + rest[0].data["text"] == "Once upon a time"
            assert rest[-1].name == "end" and rest[-1].data["status"] == "completed"
            assert tail.communicate(timeout=60)[0] == "Once upon a time\n" and tail.returncode == 0
            assert wait.communicate(timeout=60)[0].startswith("r-1\tcompleted") and wait.returncode == 0
    finally:
        go_on.set()
        upstream.stop()


def verb(rig: Rig, *args: str, remote: bool = False) -> subprocess.Popen[str]:
    """Start a verb of the command line, on this machine's store or over HTTP."""
    env = {**rig.env, **({"RELAY_URL": rig.url, "RELAY_API_KEY": KEY} if remote else {})}
    return subprocess.Popen(
        [sys.executable, "-m", "claude_relay", *args], env=env, cwd=rig.folder, stdout=subprocess.PIPE, text=True
    )


def test_a_stream_ends_with_its_server(tmp_path: Path) -> None:
    """A stop of the API is not delayed by streams, which end properly; a new process resumes them."""
    with Rig(tmp_path) as rig:
        rig.start_api()
        rig.submit({"prompt": "Hei", "requestId": "r-1"})
        stream = rig.http.get(f"{rig.url}/api/events", stream=True, timeout=60)
        messages = decode(stream.iter_lines(decode_unicode=True))
        last = next(messages).id or ""
        assert rig.api.stop() == 0
        assert list(messages) == []
        rig.start_api()
        rig.submit({"prompt": "Hei", "requestId": "r-2"})
        again = requests.get(f"{rig.url}/api/events?after={last}", headers={"X-API-Key": KEY}, stream=True, timeout=60)
        resumed = decode(again.iter_lines(decode_unicode=True))
        assert next(resumed).id == last
        assert next(resumed).data["requestId"] == "r-2"


def test_text_reaches_the_streams_of_every_machine_soon(tmp_path: Path, database: str) -> None:
    """No event follows the piece that is waited for. The times are for `make bench`: a busy machine takes longer."""
    waits = measure(tmp_path, database, pieces=6)

    assert len(waits) == 4 and all(len(seconds) == 5 for seconds in waits.values())
    assert max(map(max, waits.values())) < 30, waits
