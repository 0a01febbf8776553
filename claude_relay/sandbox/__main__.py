"""`python -m claude_relay.sandbox --port 0`: the sandbox alone, until SIGINT or SIGTERM; it prints its URL."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from claude_relay.sandbox import Sandbox
from claude_relay.sandbox.batches import SPAN

UNREACHABLE = 69


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; returns 0, or 69 if the address is not available."""
    parser = argparse.ArgumentParser(prog="python -m claude_relay.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each piece of a streamed answer (0)")
    parser.add_argument("--batch-time", type=float, default=SPAN, help=f"least seconds that a batch takes ({SPAN:g})")
    options = parser.parse_args(arguments)

    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    try:
        with Sandbox(options.port, options.host, delay=options.delay, batch_time=options.batch_time) as sandbox:
            sys.stdout.write(f"{sandbox.url}\n")
            sys.stdout.flush()
            done.wait()
    except (OSError, OverflowError) as exc:
        sys.stderr.write(f"The sandbox cannot listen on {options.host}:{options.port}: {exc}. Try --port 0.\n")
        return UNREACHABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
