"""Builders for the intake tests; URLs are checked by the parser, schemas not at all, unless a test replaces that."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from claude_relay.core.intake import IntakeContext, parse
from claude_relay.core.jobs.submission import Submission
from claude_relay.errors import InvalidRequest
from claude_relay.webhooks.url import url_problem

NOW = 1_795_305_600.0  # 2026-11-22T00:00:00Z

PDF = base64.b64encode(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj").decode()
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR").decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0\x00\x10JFIF").decode()
GIF = base64.b64encode(b"GIF89a\x01\x00").decode()
WEBP = base64.b64encode(b"RIFF\x24\x00\x00\x00WEBPVP8 ").decode()


def an_intake_context(**fields: Any) -> IntakeContext:
    """A context that checks the syntax of URLs and accepts every schema, with `fields` replaced."""
    usual: dict[str, Any] = dict(model="claude-sonnet-5-5", check_url=url_problem, check_schema=lambda schema: None)
    return IntakeContext(**(usual | fields))


def accepted(body: Any, *, context: IntakeContext | None = None, **how: Any) -> Submission:
    """The submission that `body` becomes; a prompt is added where there is none."""
    return parse(_with_prompt(body), now=NOW, context=context or an_intake_context(), **how)


def refused(body: Any, *, context: IntakeContext | None = None, **how: Any) -> dict[str, str]:
    """The problems of a refused `body`, by field."""
    with pytest.raises(InvalidRequest) as caught:
        parse(_with_prompt(body), now=NOW, context=context or an_intake_context(), **how)

    fields = [problem.field for problem in caught.value.problems]
    assert len(fields) == len(set(fields)), f"a field is named twice: {caught.value.problems}"
    return {problem.field: problem.problem for problem in caught.value.problems}


def _with_prompt(body: Any) -> Any:
    return body if not isinstance(body, dict) or body.keys() & {"prompt", "messages"} else {"prompt": "Hei", **body}
