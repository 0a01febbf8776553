"""Invoices with planted faults through the real relay: each fault is reported with its difference, and no other."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support import proof
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process
RULES = ["sum(lines.amount) == subtotal", "subtotal + vat == total", "dueDate >= invoiceDate", "mod10(kid)"]
NUMBER = {"type": "number"}
SCHEMA = {
    "type": "object",
    "required": ["lines", "subtotal", "vat", "total", "invoiceDate", "dueDate", "kid"],
    "properties": {
        "lines": {"type": "array", "items": {"type": "object", "properties": {"amount": NUMBER}}},
        "subtotal": NUMBER,
        "vat": NUMBER,
        "total": NUMBER,
        "invoiceDate": {"type": "string", "format": "date"},
        "dueDate": {"type": "string", "format": "date"},
        "kid": {"type": "string"},
    },
}
TEMPLATE = {
    "prompt": "Les fakturaen. [sandbox: say {{answer}}]",
    "options": {"model": "smart", "outputSchema": SCHEMA, "checks": RULES},
}


def an_invoice(rng: random.Random, fault: int | None) -> tuple[str, str | None]:
    """The answer for one invoice, and the difference that its planted fault makes (“false” for a control digit)."""
    amounts = [Decimal(rng.randrange(-(10**6), 10**8)).scaleb(-2) for _ in range(rng.randint(1, 20))]
    subtotal, vat = sum(amounts), Decimal(rng.randrange(10**6)).scaleb(-2)
    wrong = Decimal(rng.choice((-1, 1)) * rng.choice((1, 10, 90, 1000, 12_345))).scaleb(-2)
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(4, 24)))
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[::-2]) + sum(map(int, digits[-2::-2]))
    control = (-doubled % 10 + (rng.randint(1, 9) if fault == 3 else 0)) % 10
    printed = subtotal + (wrong if fault == 0 else 0)
    total, late = printed + vat + (wrong if fault == 1 else 0), rng.randint(1, 28)
    dates = ("2026-03-01", f"2026-02-{late:02}") if fault == 2 else ("2026-02-28", f"2026-03-{late:02}")
    lines = ",".join(f'{{"amount":{amount}}}' for amount in amounts)
    text = (
        f'{{"lines":[{lines}],"subtotal":{printed},"vat":{vat},"total":{total},"invoiceDate":"{dates[0]}",'
        f'"dueDate":"{dates[1]}","kid":"{digits}{control}"}}'
    )
    difference = format(-wrong.normalize(), "f")

    return text, {None: None, 0: difference, 1: difference, 2: str(late - 29), 3: "false"}[fault]


@pytest.mark.timeout(600)
def test_every_planted_fault_is_reported_and_nothing_else(tmp_path: Path) -> None:
    """
    Half of the invoices have a fault: a sum, a total, a due date or a control digit.

    Rows of one collection, answered by the sandbox, in the callback, in the results and in the sheet.
    `pytest --proof` makes 500 of them.
    """
    count, seed = proof.size(60, 500), proof.seed(16)
    rng = random.Random(seed)
    made = [an_invoice(rng, number // 2 % 4 if number % 2 else None) for number in range(count)]
    with Receiver() as hook, Rig(tmp_path, RELAY_PROVIDER="sandbox", RELAY_CONCURRENCY="16") as rig:
        rig.start()
        body = {
            "collectionId": "f",
            "template": TEMPLATE,
            "rows": [{"answer": text} for text, _ in made],
            "webhookUrl": hook.url("/hook"),
        }
        assert rig.post("/api/collections", body).status_code == 202
        [posted] = eventually(lambda: hook.received, within=60 + count, every=0.2)
        rows = rig.http.get(f"{rig.url}/api/collections/f/results", timeout=60).json()
        sheet = rig.http.get(f"{rig.url}/api/collections/f/results?format=excel", timeout=60).text

    assert (posted.json["status"], posted.json["completed"]) == ("completed", count), seed
    for source in (rows, posted.json["results"]):
        for (_, expected), row in zip(made, source, strict=True):
            failed = [check for check in row["checks"] if check["ok"] is not True]
            assert [check["difference"] or "false" for check in failed] == [expected] * (expected is not None), seed
            assert row.get("checksFailed", 0) == len(failed), (seed, row)
    assert sum(";1;" in line for line in sheet.splitlines()[1:]) == count // 2, seed
