"""`openapi`: the OpenAPI document of the HTTP API."""

from __future__ import annotations

import json

import click

from ..render.output import Output, pass_output


@click.command()
@pass_output
def openapi(output: Output) -> None:
    """Print the OpenAPI 3.1 document of the HTTP API, as GET /openapi.json answers it."""
    from ...wiring import openapi_document

    settings = output.settings
    output.line(json.dumps(openapi_document(settings.url or settings.public_url), indent=2, ensure_ascii=False))
