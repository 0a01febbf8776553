"""The verbs that follow a job, on the store of this machine and over HTTP."""

from __future__ import annotations

import threading
import time

from claude_relay.core.jobs.failure import PartialResponse
from tests.support.builders import a_completion, a_submission
from tests.support.eventually import eventually


def test_the_answer_is_followed_to_its_end(where, relay, run):
    """`tail -f ID` prints the text as it comes, each character once."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.checkpoint(claimed, PartialResponse(text="Once "))

    def write() -> None:
        relay.execution.checkpoint(claimed, PartialResponse(text="Once upon "))
        relay.execution.complete(claimed, a_completion("Once upon a time"))

    writer = threading.Timer(0.5, write)
    writer.start()
    code, out, _ = run("tail", "-f", "r-1")
    writer.join()

    assert (code, out) == (0, "Once upon a time\n")


def test_a_wait_ends_by_its_timeout_while_text_flows(where, relay, run):
    """Exit 124 in time, though the stream is never silent."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    stopping = threading.Event()

    def write() -> None:
        text = "x"
        while not stopping.wait(0.1):
            text += "x"
            relay.execution.checkpoint(claimed, PartialResponse(text=text))

    writer = threading.Thread(target=write)
    writer.start()
    began = time.monotonic()
    code, _, err = run("wait", "r-1", "--timeout", "1s")
    took = time.monotonic() - began
    stopping.set()
    writer.join()

    assert code == 124 and "not finished yet" in err
    assert took < 60
    eventually(lambda: relay.event_feed.texts({claimed.job.id: (0, 0)}))
