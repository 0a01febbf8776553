"""What `claude-relay demo` sends: the request of examples/faktura, packaged so that a wheel has it too."""

import json
from importlib.resources import files
from typing import Any


def faktura_request() -> dict[str, Any]:
    """The body for POST /api/claude, anew for each caller; where the answer goes is for the caller to add."""
    body: dict[str, Any] = json.loads(files(__name__).joinpath("faktura_request.json").read_bytes())
    return body
