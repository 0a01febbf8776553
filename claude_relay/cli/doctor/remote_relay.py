"""Checks of a remote relay (`--url`, RELAY_URL) by its own report. Its settings, disk and units are checked there."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import Forbidden, RelayError, Unauthorized
from ..client import open_client
from ..render.output import Output
from . import queue
from .finding import Finding, failure, ok

_ON_ITS_MACHINE = "on its machine: sudo claude-relay doctor"


def check(output: Output) -> Iterator[Finding]:
    """Check that the relay answers, accepts the key, has a worker and makes progress."""
    url = output.settings.url
    try:
        with open_client(output) as client:
            overview = client.overview()
    except (Unauthorized, Forbidden) as exc:
        yield failure("relay", f"{url}: {exc}", "set RELAY_API_KEY to an admin key of that relay")
        return
    except RelayError as exc:
        yield failure("relay", str(exc), f"fix RELAY_URL; or, {_ON_ITS_MACHINE}")
        return
    yield ok("relay", f"{url} answers and accepts the key")
    if any(worker["alive"] for worker in overview["workers"]):
        yield ok("worker", "seen lately")
    else:
        yield failure("worker", "none was seen lately: jobs are accepted and not run", _ON_ITS_MACHINE)
    yield from queue.check(overview)
