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


def a_slow_pdf(number: int) -> bytes:
    """A PDF whose page tree names one page 100,000 times, so that counting takes about two seconds; each differs."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[" + b"3 0 R " * 100_000 + b"]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d 9]>>" % (number + 9),
    ]
    out, offsets = b"%PDF-1.4\n", list[int]()
    for index, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % index + content + b"\nendobj\n"
    xref = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"xref\n0 4\n0000000000 65535 f \n" + xref + b"trailer<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"

    return out + end % len(out)
