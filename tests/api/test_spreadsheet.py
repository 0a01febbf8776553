"""Results in a spreadsheet: LibreOffice with Norwegian settings opens what `format=excel` writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from falcon.testing import TestClient

from claude_relay.core.policy import Policy
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import QuietNotifier, a_completion
from tests.support.needs import needs

#: Semicolons, quotes, UTF-8, from line 1, Norwegian (1044), quoted cells as any other, and numbers are detected.
_FILTER = "CSV:59,34,76,1,,1044,false,true"
_NAME = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
KID = "0012345678901234567890123"
ROWS = [
    {"navn": "Blåbærsyltetøy; Æøå", "postnr": "0150", "sats": "12.10", "fritekst": "=1+1"},
    {"navn": 'Sitat "x"', "postnr": "5003", "sats": "3/4", "fritekst": "@SUM(A1:A9)"},
    {"navn": "To\nlinjer", "postnr": "9990", "sats": "12E5", "fritekst": "+47 22 22 22 22"},
    {"navn": "Tab", "postnr": "0001", "sats": "2026-11", "fritekst": "-2+3"},
]
ANSWERS = [
    {"kid": KID, "sum": 1234.56, "dato": "2026-11-30", "seller": {"name": "Ås AS"}},
    {"kid": 1234567890123456789, "sum": -0.1, "dato": "2026-01-02", "seller": {"name": "Ø;Å"}},
    {"kid": "2345676", "sum": 1000000, "dato": "2026-02-28", "seller": {"name": "\t=1"}},
    {"kid": None, "sum": 0, "dato": "2024-02-29", "seller": {"name": "a,b"}},
]


def read_sheet(file: Path) -> list[list[Any]]:
    """The cells of the first sheet: a float for a number, else its text; a formula is an error."""
    with zipfile.ZipFile(file) as parts:
        shared = ["".join(item.itertext()) for item in ElementTree.fromstring(parts.read("xl/sharedStrings.xml"))]
        sheet = ElementTree.fromstring(parts.read("xl/worksheets/sheet1.xml"))
    rows = []
    for row in sheet.iter(f"{_NAME}row"):
        cells: dict[str, Any] = {}
        for cell in row:
            assert cell.find(f"{_NAME}f") is None, "a cell became a formula"
            value = cell.findtext(f"{_NAME}v")
            column = re.sub("[0-9]", "", cell.attrib["r"])
            cells[column] = "" if value is None else shared[int(value)] if cell.get("t") == "s" else float(value)
        rows.append([cells.get(chr(65 + index), "") for index in range(26)])
    return rows


@pytest.fixture
def relay(tmp_path: Path):
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy(delivery_delay=0.0))
    yield relay
    relay.close()


def test_a_norwegian_spreadsheet_opens_the_results_as_they_are_meant(
    relay: Relay, client: TestClient, tmp_path: Path
) -> None:
    """Letters, amounts, dates, line breaks; no KID, postal code or rate is changed, and no text runs as a formula."""
    soffice = needs("soffice")
    body = {"collectionId": "c", "template": {"prompt": "{{navn}} {{postnr}} {{sats}} {{fritekst}}"}, "rows": ROWS}
    assert client.simulate_post("/api/collections", json=body).status_code == 202
    for claimed in relay.execution.claim("w", limit=10):
        answer = ANSWERS[(claimed.job.row or 0) - 1]
        relay.execution.complete(claimed, a_completion(json.dumps(answer), json=answer))
    (tmp_path / "c.csv").write_bytes(client.simulate_get("/api/collections/c/results?format=excel").content)
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    command = [soffice, profile, "--headless", "--convert-to", "xlsx", f"--infilter={_FILTER}", "--outdir", tmp_path]
    subprocess.run(
        [*command, tmp_path / "c.csv"],
        check=True,
        capture_output=True,
        timeout=200,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    titles, *rows = read_sheet(tmp_path / "c.xlsx")
    columns = {title: [row[titles.index(title)] for row in rows] for title in titles if title}

    assert columns["navn"] == [row["navn"] for row in ROWS]
    assert columns["sum"] == [answer["sum"] for answer in ANSWERS]
    assert columns["dato"] == [46356.0, 46024.0, 46081.0, 45351.0], "days since 1899-12-30: dates"
    assert columns["postnr"] == ["'0150", 5003.0, 9990.0, "'0001"]
    assert columns["sats"] == ["'12.10", "'3/4", "'12E5", "'2026-11"]
    assert columns["fritekst"] == [f"'{row['fritekst']}" for row in ROWS]
    assert columns["kid"] == [f"'{KID}", "'1234567890123456789", 2345676.0, ""]
    assert columns["seller.name"] == ["Ås AS", "Ø;Å", "'\t=1", "a,b"]
    assert columns["status"] == ["completed"] * 4
