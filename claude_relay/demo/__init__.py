"""The request that `claude-relay demo` sends: that of examples/faktura, packaged so that wheels contain it."""

import json
from importlib.resources import files
from typing import Any


def faktura_request() -> dict[str, Any]:
    """A new copy of the body for POST /api/claude, to which the caller adds the webhook URL."""
    body: dict[str, Any] = json.loads(files(__name__).joinpath("faktura_request.json").read_bytes())
    return body
