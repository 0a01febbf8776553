"""What the relay does with Claude on the caller's behalf, through real processes, read in the upstream's own books."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_claude import FakeClaude, answer
from tests.support.rig import Rig

pytestmark = pytest.mark.process


@pytest.fixture
def upstream() -> Iterator[FakeClaude]:
    with FakeClaude() as fake:
        yield fake


def test_a_conversation_of_three_reaches_the_upstream_whole(tmp_path: Path, upstream: FakeClaude) -> None:
    """Over HTTP and on the command line; the system prompt of the first holds for all."""
    for number in "123":
        upstream.then(*answer(f"Answer {number}."))
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        rig.submit({"prompt": "First?", "requestId": "r-1", "options": {"systemPrompt": "Be brief."}})
        rig.finished("r-1")
        early = rig.submit({"prompt": "Second?", "requestId": "r-2", "continueFrom": "r-1"})
        assert early.status_code == 202
        rig.finished("r-2")
        last = rig.command("submit", "--wait", "--continue", "r-2", "Third?")

        assert (last.returncode, last.stdout) == (0, "Answer 3.\n"), last.stderr
        sent = upstream.books[-1].body
        assert [(turn["role"], _text(turn)) for turn in sent["messages"]] == [
            ("user", "First?"),
            ("assistant", "Answer 1."),
            ("user", "Second?"),
            ("assistant", "Answer 2."),
            ("user", "Third?"),
        ]
        assert "Be brief." in json.dumps(sent["system"])


def _text(turn: dict) -> str:
    content = turn["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)
