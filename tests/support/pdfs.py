"""PDFs to send: with a number of pages, large, or encrypted."""

from __future__ import annotations

import base64
import io
from typing import Any


def a_pdf(pages: int = 1, *, password: str | None = None, padding: int = 0) -> bytes:
    """A real PDF; `padding` makes it that many bytes larger."""
    from pypdf import PdfWriter

    writer = PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(width=72, height=72)
    if password is not None:
        writer.encrypt(user_password=password, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue() + b"\n%" + b"x" * padding


def a_file(data: bytes, **fields: Any) -> dict[str, Any]:
    """A file as stored with its request."""
    return {"data": base64.b64encode(data).decode(), "mediaType": "application/pdf", **fields}
