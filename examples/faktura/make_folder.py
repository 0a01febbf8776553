#!/usr/bin/env python3
"""
Regenerate the folder of invoices: fakturaer/*.pdf, and template.json with the schema and the checks.

    python examples/faktura/make_folder.py

It also writes the copy of both that `claude-relay demo` sends, packaged so that wheels contain it. Run it after every
change to the data or the layout; a test compares its output with the committed files.
"""

import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from folder_layout import render
from folder_sample import Document, documents

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "fakturaer"
PACKAGED = HERE.parents[1] / "claude_relay" / "demo" / "faktura_folder.json"
#: Misread at first, and right once Claude is shown the check that failed.
MISREAD = (5, 12)

PROMPT = """Les det vedlagte dokumentet ({{name}}) og fyll ut alle feltene i skjemaet.
Skriv av det som står; gjett aldri, og regn ikke om tallene. Les alle sidene; ta med alle linjene i papirets rekkefølge.
Beløp er tall med punktum som desimaltegn, negative i en kreditnota. Datoer er ÅÅÅÅ-MM-DD. Det som mangler, er null."""

#: Name, JSON type, description; `?` allows null.
_FIELDS = (
    ("dokumenttype", "string", "faktura eller kreditnota"),
    ("fakturanummer", "string", "Dokumentets nummer."),
    ("krediterer", "string?", "Nummeret på fakturaen som en kreditnota gjelder."),
    ("fakturadato", "date", "Datoen dokumentet er utstedt."),
    ("forfallsdato", "date", "Siste frist for betaling."),
    ("valuta", "string", "ISO 4217, for eksempel NOK."),
    ("valutakurs", "number?", "Kroner for én enhet av en utenlandsk valuta."),
    ("kid", "string?", "KID, bare sifre."),
    ("kontonummer", "string", "Kontonummer eller IBAN uten mellomrom."),
    ("selgerNavn", "string", "Selgers navn."),
    ("selgerOrgnr", "string?", "Selgers norske organisasjonsnummer: ni sifre."),
    ("kjoperNavn", "string", "Kjøpers navn."),
    ("kjoperOrgnr", "string", "Kjøpers organisasjonsnummer: ni sifre."),
    ("omvendtAvgiftsplikt", "boolean", "Om kjøper skal beregne merverdiavgiften."),
    ("sumUtenMva", "number", "Summen uten merverdiavgift, slik den står."),
    ("sumMva", "number", "Merverdiavgiften i alt, slik den står."),
    ("belopABetale", "number", "Beløpet å betale, slik det står."),
)
_LINE = (
    ("varenummer", "string", "Varenummer."),
    ("beskrivelse", "string", "Hva linjen gjelder."),
    ("antall", "number", "Antall."),
    ("enhet", "string", "Enhet, for eksempel stk eller time."),
    ("pris", "number", "Pris for én enhet uten mva."),
    ("rabattProsent", "number", "Rabatt i prosent; 0 uten rabatt."),
    ("mvaSats", "number", "Mva-sats i prosent."),
    ("belop", "number", "Linjens beløp uten mva."),
)
_VAT = (("sats", "number", "Prosent."), ("grunnlag", "number", "Uten mva."), ("belop", "number", "Avgiften."))

CHECKS: list[Any] = [
    {"name": "linjer = sum uten mva", "rule": "sum(linjer.belop) == sumUtenMva"},
    {"name": "mva = sum mva", "rule": "sum(mva.belop) == sumMva"},
    {"name": "mva av grunnlag", "rule": "mva.grunnlag * mva.sats / 100 == mva.belop", "tolerance": "0.005"},
    {"name": "sum + mva = å betale", "rule": "sumUtenMva + sumMva == belopABetale"},
    {"name": "linjens beløp", "tolerance": "0.005",
     "rule": "linjer.antall * linjer.pris * (100 - linjer.rabattProsent) / 100 == linjer.belop"},
    {"name": "forfall etter dato", "rule": "forfallsdato >= fakturadato"},
    {"name": "KID", "rule": "mod10(kid)"},
    {"name": "selgers org.nr.", "rule": "mod11(selgerOrgnr)"},
    {"name": "kjøpers org.nr.", "rule": "mod11(kjoperOrgnr)"},
    {"name": "fakturanummer", "rule": "present(fakturanummer)"},
]  # fmt: skip


def template() -> dict[str, Any]:
    """The body of the template: prompt, schema, checks, and the file of each row."""
    return {
        "prompt": PROMPT,
        "files": [{"data": "{{file}}", "name": "{{name}}"}],
        "options": {"maxTokens": 8192, "outputSchema": schema(), "checks": CHECKS},
        "group": "faktura",
    }


def schema() -> dict[str, Any]:
    """The schema of one document, with as many lines as it has."""
    properties = {name: _shape(kind, text) for name, kind, text in _FIELDS}
    properties["dokumenttype"]["enum"] = ["faktura", "kreditnota"]
    properties["linjer"] = {"type": "array", "items": _object({name: _shape(kind, text) for name, kind, text in _LINE})}
    properties["mva"] = {"type": "array", "items": _object({name: _shape(kind, text) for name, kind, text in _VAT})}

    return _object(properties)


def answer(document: Document) -> dict[str, Any]:
    """The printed values of a document."""
    return {
        "dokumenttype": "kreditnota" if document.credit_of else "faktura",
        "fakturanummer": document.number,
        "krediterer": document.credit_of,
        "fakturadato": document.issued.isoformat(),
        "forfallsdato": document.due.isoformat(),
        "valuta": document.currency,
        "valutakurs": _number(document.rate),
        "kid": document.kid,
        "kontonummer": document.account,
        "selgerNavn": document.seller[0],
        "selgerOrgnr": document.seller_orgnr,
        "kjoperNavn": document.buyer[0],
        "kjoperOrgnr": document.buyer[1],
        "omvendtAvgiftsplikt": document.reverse_charge,
        "sumUtenMva": _number(document.net),
        "sumMva": _number(document.vat),
        "belopABetale": _number(document.total),
        "linjer": [
            {
                "varenummer": row.item,
                "beskrivelse": row.text,
                "antall": _number(row.quantity),
                "enhet": row.unit,
                "pris": _number(row.price),
                "rabattProsent": _number(row.discount),
                "mvaSats": row.vat,
                "belop": _number(row.net),
            }
            for row in document.rows
        ],
        "mva": [
            {"sats": rate, "grunnlag": _number(document.base(rate)), "belop": _number(document.vat_at(rate))}
            for rate in document.rates
        ],
    }


def attachment(document: Document) -> dict[str, Any]:
    """What the sandbox answers: the printed values; for the misread ones another sum at first."""
    right = answer(document)
    if document.position not in MISREAD:
        return {"sandboxAnswer": right}

    return {"sandboxAnswer": right, "firstAnswer": {**right, "sumUtenMva": right["sumUtenMva"] + 1000}}


def make() -> dict[Path, bytes]:
    """The content of every generated file."""
    files = {FOLDER / document.name: render(document, attachment(document)) for document in documents()}
    text = json.dumps(template(), ensure_ascii=False, indent=2) + "\n"

    return {**files, HERE / "template.json": text.encode()}


def packaged(files: dict[Path, bytes]) -> dict[str, Any]:
    """The body of a collection: the template, and a row for each of the PDFs."""
    rows = [
        {"file": base64.b64encode(content).decode(), "name": path.name}
        for path, content in sorted(files.items())
        if path.suffix == ".pdf"
    ]
    return {"template": template(), "rows": rows}


def _shape(kind: str, text: str) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": kind.rstrip("?").replace("date", "string"), "description": text}
    if kind == "date":
        shape["format"] = "date"
    if kind.endswith("?"):
        shape["type"] = [shape["type"], "null"]

    return shape


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None

    return int(value) if value == value.to_integral_value() else float(value)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    made = make()
    made[PACKAGED] = json.dumps(packaged(made), ensure_ascii=False, indent=1).encode() + b"\n"
    for path, content in made.items():
        path.write_bytes(content)
        print(f"{path.relative_to(HERE.parents[1])}: {len(content):,} bytes")
