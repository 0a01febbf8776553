"""The requests that `claude-relay demo` sends: those of examples/faktura, packaged so that wheels contain them."""

import json
from importlib.resources import files
from typing import Any


def faktura_request() -> dict[str, Any]:
    """A new copy of the body for POST /api/claude, to which the caller adds the webhook URL."""
    return _read("faktura_request.json")


def faktura_folder() -> dict[str, Any]:
    """The template of the folder of invoices, and its rows: `file` is the PDF in base64, `name` its name."""
    return _read("faktura_folder.json")


def _read(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(files(__name__).joinpath(name).read_bytes())
    return body
