#!/usr/bin/env python3
"""
Regenerate the example: faktura.pdf, schema.json, answer.json, request.json and the packaged copy of the request.

    python examples/faktura/make_invoice.py

Run it after every change to the data, the fields or the layout; a test compares its output with the committed files.
"""

import base64
import json
from pathlib import Path
from typing import Any

from fields import LINE_SLOTS, answer, schema
from invoice import Invoice
from layout import render
from sample import SAMPLE

HERE = Path(__file__).resolve().parent
PACKAGED = HERE.parents[1] / "claude_relay" / "demo" / "faktura_request.json"

SYSTEM = f"""Du leser norske fakturaer for et regnskapskontor og svarer bare med feltene i skjemaet.
Skriv av det som står; gjett aldri, og regn ikke om tallene. Les alle sidene.
Beløp er tall i kroner med punktum som desimaltegn. Datoer er ÅÅÅÅ-MM-DD. Numre er tekst uten mellomrom.
Det som mangler, er null der skjemaet tillater det, ellers tom tekst, 0 eller false.
Linjene kommer i papirets rekkefølge. Er det flere enn {LINE_SLOTS}, tas de første med; antallLinjer teller alle."""

PROMPT = "Les den vedlagte fakturaen og fyll ut alle feltene i skjemaet."


def request(pdf: bytes) -> dict[str, Any]:
    """The body for POST /api/claude, to which the sender adds the webhook URL."""
    return {
        "prompt": PROMPT,
        "options": {"maxTokens": 8192, "systemPrompt": SYSTEM, "outputSchema": schema()},
        "files": [{"name": "faktura.pdf", "mediaType": "application/pdf", "data": base64.b64encode(pdf).decode()}],
        "group": "faktura",
        "metadata": {"kilde": "examples/faktura", "filnavn": "faktura.pdf"},
    }


def as_json(value: dict[str, Any]) -> bytes:
    """Readable JSON with unescaped æøå."""
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def make(invoice: Invoice) -> dict[Path, bytes]:
    """The content of every generated file of the example."""
    pdf = render(invoice, {"sandboxAnswer": answer(invoice)})
    body = as_json(request(pdf))
    return {
        HERE / "faktura.pdf": pdf,
        HERE / "schema.json": as_json(schema()),
        HERE / "answer.json": as_json(answer(invoice)),
        HERE / "request.json": body,
        PACKAGED: body,
    }


if __name__ == "__main__":
    for path, content in make(SAMPLE).items():
        path.write_bytes(content)
        print(f"{path.relative_to(HERE.parents[1])}: {len(content):,} bytes")
