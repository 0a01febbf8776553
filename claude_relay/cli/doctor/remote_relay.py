"""A relay elsewhere (`--url`, RELAY_URL): what it tells of itself. Its settings, disk and units are looked at there."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.jobs.holds import QUEUE_WIDE
from ...errors import Forbidden, RelayError, Unauthorized
from ..client import open_client
from ..render.output import Output
from .finding import Finding, failure, ok
from .store import moving

_QUEUE_WIDE = [str(scope) for scope in QUEUE_WIDE]
_THERE = "there: sudo claude-relay doctor"


def check(output: Output) -> Iterator[Finding]:
    """Whether it answers, takes the key, has a worker and gets on."""
    url = output.settings.url
    try:
        with open_client(output) as desk:
            overview = desk.overview()
    except (Unauthorized, Forbidden) as exc:
        yield failure("relay", f"{url}: {exc}", "set RELAY_API_KEY to an admin key of that relay")
        return
    except RelayError as exc:
        yield failure("relay", str(exc), f"mend RELAY_URL, or look {_THERE}")
        return
    yield ok("relay", f"{url} answers and takes the key")
    if any(worker["alive"] for worker in overview["workers"]):
        yield ok("worker", "seen lately")
    else:
        yield failure("worker", "none was seen lately: jobs are accepted and not run", _THERE)
    for hold in overview["holds"]:
        if hold["scope"] in _QUEUE_WIDE:
            yield failure("queue", f"stands still: {hold['reason']}", "claude-relay resume")
    yield from moving(overview)
