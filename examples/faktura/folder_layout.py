"""The look of the folder's invoices: one renderer, and five styles that place and name things differently."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timezone
from decimal import Decimal
from typing import Any

from folder_sample import Document
from paper import LEFT, MUTED, RIGHT, TINT, WHITE, WIDTH, Color, Paper, day, grouped, kroner, plain

_NB = {
    "invoice": "FAKTURA", "credit": "KREDITNOTA", "number": "Fakturanummer", "date": "Fakturadato", "due": "Forfall",
    "credits": "Krediterer faktura", "to": "Til", "item": "Varenr.", "text": "Beskrivelse", "quantity": "Antall",
    "unit": "Enhet", "price": "Pris", "discount": "Rabatt", "vat": "Mva", "amount": "Beløp", "net": "Sum uten mva",
    "total": "Å betale", "account": "Konto", "kid": "KID", "rate": "Kurs", "page": "Side",
    "reverse": "Omvendt avgiftsplikt: kjøper beregner merverdiavgift",
}  # fmt: skip
_NN = {**_NB, "number": "Faktura nr.", "due": "Å betale innan", "text": "Skildring", "quantity": "Mengd",
       "net": "Sum utan mva", "total": "Sum å betale", "to": "Kjøpar"}  # fmt: skip
_EN = {
    "invoice": "INVOICE", "credit": "CREDIT NOTE", "number": "Invoice no.", "date": "Date", "due": "Due date",
    "credits": "Credits invoice", "to": "Bill to", "item": "Item", "text": "Description", "quantity": "Qty",
    "unit": "Unit", "price": "Unit price", "discount": "Discount", "vat": "VAT", "amount": "Amount", "net": "Net total",
    "total": "Amount due", "account": "IBAN", "kid": "Reference", "rate": "Exchange rate (NOK)", "page": "Page",
    "reverse": "Reverse charge: VAT is accounted for by the recipient",
}  # fmt: skip
_ALL = ("item", "text", "quantity", "unit", "price", "discount", "vat", "amount")
_LAST = ("price", "discount", "vat", "amount")
_WIDTHS = {"item": 16, "text": 58, "quantity": 16, "unit": 14, "price": 22, "discount": 16, "vat": 12, "amount": 20}


@dataclass(frozen=True, kw_only=True)
class Style:
    """One seller's paper."""

    accent: Color
    words: dict[str, str]
    columns: tuple[str, ...] = _ALL
    facts_left: bool = False
    filled: bool = True
    row: float = 7.0


STYLES = (
    Style(accent=(17, 94, 103), words=_NB),
    Style(accent=(150, 60, 20), words=_NB, facts_left=True, filled=False),
    Style(accent=(40, 60, 120), words=_NN, columns=("text", "item", "unit", "quantity", *_LAST)),
    Style(accent=(33, 37, 41), words=_NB, columns=("quantity", "unit", "item", "text", *_LAST), filled=False,
          row=6.0),
    Style(accent=(90, 30, 90), words=_EN, facts_left=True),
)  # fmt: skip


def render(document: Document, attachment: dict[str, Any]) -> bytes:
    """
    The document as a PDF.

    `attachment` is embedded as a JSON file: the sandbox, which cannot read, answers with it.
    """
    style = STYLES[-1] if document.currency != "NOK" else STYLES[document.position % (len(STYLES) - 1)]
    page = _Page(document, style)
    page.add_page()
    page.facts()
    page.table()
    page.sums()
    page.attach(attachment)

    return bytes(page.output())


class _Page(Paper):
    def __init__(self, document: Document, style: Style) -> None:
        created = datetime.combine(document.issued, time(12), timezone.utc)
        super().__init__(title=f"Faktura {document.number}", author=document.seller[0], created=created)
        self.document, self.style = document, style

    def header(self) -> None:
        """The seller, and on the first page the kind of document."""
        d, words = self.document, self.style.words
        at = RIGHT - 90 if self.style.facts_left else LEFT
        align = "R" if self.style.facts_left else "L"
        self.put(at, 14, d.seller[0], w=90, align=align, size=14, bold=True, color=self.style.accent)
        orgnr = f"Org.nr. NO {grouped(d.seller_orgnr, 3)} MVA" if d.seller_orgnr else "USt-IdNr. DE 123456788"
        for row, text in enumerate((*d.seller[1:], orgnr)):
            self.put(at, 21 + 4.2 * row, text, w=90, align=align, size=8.5, color=MUTED)
        title = words["credit" if d.credit_of else "invoice"]
        other = LEFT if self.style.facts_left else RIGHT - 80
        self.put(other, 14, title, w=80, align="L" if self.style.facts_left else "R", size=18, bold=True)
        self.put(
            other, 23, f"{words['page']} {self.page_no()}", w=80, align="L" if self.style.facts_left else "R", size=8
        )
        self.set_y(40)

    def footer(self) -> None:
        """That it is made up."""
        self.label(LEFT, 286, "Laget til øving: navn, numre og kontoer er oppdiktet.", w=WIDTH)

    def facts(self) -> None:
        """Buyer and numbers."""
        d, words = self.document, self.style.words
        facts = [(words["number"], d.number), (words["date"], day(d.issued)), (words["due"], day(d.due))]
        if d.credit_of:
            facts.append((words["credits"], d.credit_of))
        if d.kid:
            facts.append((words["kid"], d.kid))
        facts.append((words["account"], grouped(d.account, 4)))
        if d.rate is not None:
            facts.append((words["rate"], f"1 {d.currency} = {plain(d.rate)}"))
        buyer_at, facts_at = (LEFT + 100, LEFT) if self.style.facts_left else (LEFT, LEFT + 90)
        self.label(buyer_at, 42, words["to"])
        self.put(buyer_at, 46, d.buyer[0], bold=True, size=10.5)
        self.put(buyer_at, 51, f"Org.nr. {grouped(d.buyer[1], 3)}")
        for row, (name, value) in enumerate(facts):
            self.put(facts_at, 42 + 5 * row, name, w=42, color=MUTED)
            self.put(facts_at + 42, 42 + 5 * row, value, w=44)
        self.set_y(84)

    def table(self) -> None:
        """The lines, on as many pages as needed."""
        self._heading()
        for number, row in enumerate(self.document.rows):
            if self.get_y() > 262:
                self.add_page()
                self._heading()
            if self.style.filled and number % 2:
                self.block(LEFT, self.get_y(), WIDTH, self.style.row, TINT)
            cells = {
                "item": row.item, "text": row.text, "quantity": plain(row.quantity), "unit": row.unit,
                "price": kroner(row.price), "discount": f"{plain(row.discount)} %" if row.discount else "",
                "vat": f"{row.vat} %", "amount": kroner(row.net),
            }  # fmt: skip
            self._cells(cells, y=self.get_y() + 1.2)
            self.set_y(self.get_y() + self.style.row)

    def sums(self) -> None:
        """VAT by rate, the sums, and what is to be paid."""
        d, words = self.document, self.style.words
        y = self.get_y() + 8
        if y > 235:
            self.add_page()
            y = self.get_y() + 8
        for row, rate in enumerate(d.rates):
            text = f"{words['vat']} {rate} %: {kroner(d.base(rate))}"
            self.put(LEFT, y + 5 * row, text, w=60)
            self.put(LEFT + 62, y + 5 * row, kroner(d.vat_at(rate)), w=24, align="R")
        rows: list[tuple[str, Decimal]] = [(words["net"], d.net), (words["vat"], d.vat)]
        for row, (name, amount) in enumerate(rows):
            self.put(118, y + 5 * row, name, color=MUTED)
            self.put(118, y + 5 * row, kroner(amount), w=RIGHT - 118, align="R")
        self.block(115, y + 12, RIGHT - 115, 9, self.style.accent)
        self.put(118, y + 14, f"{words['total']} ({d.currency})", bold=True, size=10.5, color=WHITE)
        self.put(118, y + 14, kroner(d.total), w=RIGHT - 121, align="R", bold=True, size=10.5, color=WHITE)
        if d.reverse_charge:
            self.put(LEFT, y + 28, words["reverse"], w=WIDTH)

    def _heading(self) -> None:
        y = self.get_y()
        if self.style.filled:
            self.block(LEFT, y, WIDTH, 7, self.style.accent)
        names = {name: self.style.words[name] for name in self.style.columns}
        self._cells(names, y=y + 1.2, bold=True, color=WHITE if self.style.filled else self.style.accent)
        if not self.style.filled:
            self.rule(y + 7)
        self.set_y(y + 7.5)

    def _cells(self, cells: dict[str, str], *, y: float, bold: bool = False, color: Color = (33, 37, 41)) -> None:
        x = LEFT
        for name in self.style.columns:
            align = "R" if name in ("quantity", "price", "discount", "vat", "amount") else "L"
            width = float(_WIDTHS[name])
            self.put(x + 1, y, cells[name], w=width - 2, align=align, size=8.5, bold=bold, color=color)
            x += width
