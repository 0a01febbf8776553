"""The layout of the invoice: two pages, drawn block by block from the top."""

from datetime import datetime, time, timezone
from decimal import Decimal
from typing import Any

from checkdigits import mod10
from invoice import VAT_RATES, Invoice, Line, Party
from paper import ACCENT, LEFT, MUTED, RIGHT, TINT, WHITE, WIDTH, Paper, day, grouped, kroner, plain

TABLE_END = 256.0
ROW = 13.2

# Heading, width, alignment; the total width is that of the page.
COLUMNS = (
    ("Varenr.", 15.0, "L"),
    ("Beskrivelse", 62.0, "L"),
    ("Antall", 14.0, "R"),
    ("Enhet", 13.0, "L"),
    ("Pris", 20.0, "R"),
    ("Rabatt", 14.0, "R"),
    ("Mva", 12.0, "R"),
    ("Beløp", 24.0, "R"),
)


def render(invoice: Invoice, attachment: dict[str, Any]) -> bytes:
    """
    The complete invoice as a PDF.

    `attachment` is embedded as a JSON file: the sandbox, which cannot read, answers with it.
    """
    page = InvoicePaper(invoice)
    page.add_page()
    page.addresses()
    page.facts()
    page.goods()
    page.sums()
    page.remarks()
    page.slip()
    page.attach(attachment)
    return bytes(page.output())


class InvoicePaper(Paper):
    """The pages of one invoice."""

    def __init__(self, invoice: Invoice) -> None:
        created = datetime.combine(invoice.issued, time(12), timezone.utc)
        super().__init__(title=f"Faktura {invoice.number}", author=invoice.seller.name, created=created)
        self.alias_nb_pages("{sider}")
        self.invoice = invoice

    def header(self) -> None:
        """Letterhead on page 1; a short header on the others."""
        seller = self.invoice.seller
        self.set_fill_color(*ACCENT)
        self.polygon([(LEFT, 25), (LEFT + 7, 14), (LEFT + 11, 20), (LEFT + 13.5, 16.5), (LEFT + 19, 25)], style="F")
        self.put(LEFT + 22, 15.5, seller.name, size=14, bold=True, color=ACCENT, w=100)
        if self.page_no() > 1:
            self.label(LEFT + 22, 21.5, f"Faktura {self.invoice.number} til {self.invoice.buyer.name}")
            self.set_y(32)
            return
        self.label(LEFT + 22, 21.5, "Kurs, konferanse og overnatting ved fjorden")
        lines = (
            seller.address,
            f"{seller.postcode} {seller.city}",
            f"Telefon {seller.phone}",
            seller.email,
            str(seller.website),
        )
        for row, text in enumerate(lines):
            self.put(RIGHT - 70, 14 + row * 4, text, w=70, align="R", size=8, color=MUTED)

    def footer(self) -> None:
        """The sender and the page number."""
        seller = self.invoice.seller
        self.rule(283)
        self.label(LEFT, 284.5, f"{seller.name}   Org.nr. {vat_number(seller)}   Foretaksregisteret", w=140)
        # Left-aligned, since fpdf2 knows the width of the number of pages only at the end.
        self.label(RIGHT - 17, 284.5, f"Side {self.page_no()} av {{sider}}")

    def addresses(self) -> None:
        """The buyer, placed for a window envelope, and the place of delivery."""
        i, buyer = self.invoice, self.invoice.buyer
        self.label(LEFT, 47, "FAKTURA TIL")
        self.put(LEFT, 51.5, buyer.name, size=11, bold=True)
        rows = (buyer.address, f"{buyer.postcode} {buyer.city}", f"Org.nr. {grouped(buyer.orgnr, 3)}", buyer.email)
        for row, text in enumerate(rows):
            self.put(LEFT, 57.5 + row * 4.8, text, size=9.5)
        self.label(LEFT, 83, "LEVERT TIL")
        self.put(LEFT, 87, i.delivery_name, bold=True)
        self.put(LEFT, 91.5, f"{i.delivery_address}, {i.delivery_postcode} {i.delivery_city}")
        self.put(LEFT, 96, f"Leveringsdato {day(i.delivered_from)} - {day(i.delivered_to)}")

    def facts(self) -> None:
        """The title and the most important numbers."""
        i, x, w = self.invoice, 112.0, RIGHT - 112.0
        self.put(x, 44, "FAKTURA", size=22, bold=True, color=ACCENT)
        rows = [
            ("Fakturanummer", i.number),
            ("Fakturadato", day(i.issued)),
            ("Forfallsdato", day(i.due)),
            ("Betalingsbetingelser", f"Netto {i.days} dager"),
            ("Kundenummer", i.customer),
            ("Ordrenummer", i.order),
            ("Deres bestillingsnr.", i.purchase_order),
            ("Prosjekt", i.project),
            ("Deres referanse", i.their_reference),
            ("Vår referanse", i.our_reference),
        ]
        if i.contract:
            rows.insert(8, ("Avtalenummer", i.contract))
        for row, (name, value) in enumerate(rows):
            y = 57.5 + row * 4.5
            self.put(x, y, name, color=MUTED)
            self.put(x, y, value, w=w, align="R", bold=name == "Forfallsdato")

    def goods(self) -> None:
        """The lines on as many pages as needed; each page carries its sum over to the next."""
        self.set_y(110)
        self.heading()
        carried = Decimal(0)
        for number, line in enumerate(self.invoice.lines):
            if self.get_y() + ROW > TABLE_END:
                self.carry(f"Overføres til side {self.page_no() + 1}", carried)
                self.add_page()
                self.heading()
                self.carry(f"Overført fra side {self.page_no() - 1}", carried)
            self.row(line, tinted=number % 2 == 1)
            carried += line.net

    def heading(self) -> None:
        """The column headings."""
        y = self.get_y()
        self.block(LEFT, y, WIDTH, 7, ACCENT)
        x = LEFT
        for name, width, align in COLUMNS:
            self.put(x, y + 1.4, name, w=width, align=align, size=8.5, bold=True, color=WHITE)
            x += width
        self.set_y(y + 7)

    def row(self, line: Line, *, tinted: bool) -> None:
        """One line with its details in grey below."""
        y, x = self.get_y(), LEFT
        if tinted:
            self.block(LEFT, y, WIDTH, ROW, TINT)
        discount = f"{plain(line.discount)} %" if line.discount else ""
        values = (
            line.item,
            line.text,
            plain(line.quantity),
            line.unit,
            kroner(line.price),
            discount,
            f"{line.vat} %",
            kroner(line.net),
        )
        for (_, width, align), value in zip(COLUMNS, values, strict=True):
            self.put(x, y + 2, value, w=width, align=align)
            x += width
        self.label(LEFT + COLUMNS[0][1], y + 7, line.detail)
        self.set_y(y + ROW)

    def carry(self, text: str, amount: Decimal) -> None:
        """The sum carried over between pages."""
        y = self.get_y()
        self.put(LEFT + COLUMNS[0][1], y + 1.6, text, bold=True, size=8.5)
        self.put(RIGHT - 40, y + 1.6, kroner(amount), w=40, align="R", bold=True, size=8.5)
        self.rule(y + 7.4)
        self.set_y(y + 8)

    def sums(self) -> None:
        """The VAT specification on the left, the amount to pay on the right."""
        i, top = self.invoice, self.get_y() + 8
        self.put(LEFT, top, "Merverdiavgift", bold=True, size=10)
        self.rule(top + 6, to=LEFT + 82)
        for row, rate in enumerate(VAT_RATES):
            y = top + 12 + row * 5
            self.put(LEFT, y, f"{rate} %")
            self.put(LEFT + 14, y, kroner(i.base(rate)), w=34, align="R")
            self.put(LEFT + 48, y, kroner(i.vat_at(rate)), w=34, align="R")
        self.label(LEFT, top + 7, "Sats")
        self.label(LEFT + 14, top + 7, "Grunnlag", w=34, align="R")
        self.label(LEFT + 48, top + 7, "Mva", w=34, align="R")
        self.rule(top + 32.5, to=LEFT + 82)
        self.put(LEFT, top + 34, "Sum", bold=True)
        self.put(LEFT + 14, top + 34, kroner(i.net), w=34, align="R", bold=True)
        self.put(LEFT + 48, top + 34, kroner(i.vat), w=34, align="R", bold=True)
        self.label(LEFT, top + 39.5, f"0 %: {i.zero_rate_reason}")

        x, w = 118.0, RIGHT - 118.0
        rows = (
            ("Sum før rabatt", i.gross),
            ("Rabatt", -i.discount),
            ("Sum uten mva", i.net),
            ("Mva", i.vat),
            ("Sum med mva", i.total),
            ("Øreavrunding", i.rounding),
        )
        for row, (name, amount) in enumerate(rows):
            y = top + row * 5.2
            self.put(x, y, name, color=MUTED)
            self.put(x, y, kroner(amount), w=w, align="R")
        self.block(x - 3, top + 33, w + 3, 10, ACCENT)
        self.put(x, top + 35.2, "Å betale (NOK)", bold=True, size=11, color=WHITE)
        self.put(x, top + 35.2, kroner(i.payable), w=w - 3, align="R", bold=True, size=11, color=WHITE)
        self.set_y(top + 46)

    def remarks(self) -> None:
        """The seller's remarks."""
        y = self.get_y() + 6
        self.put(LEFT, y, self.invoice.note, w=WIDTH)
        self.put(LEFT, y + 5, self.invoice.payment.note, w=WIDTH, size=8.5, color=MUTED)

    def slip(self) -> None:
        """The payment slip at the bottom of the last page, with the data a bank needs."""
        i, pay, y = self.invoice, self.invoice.payment, 196.0
        self.set_draw_color(*MUTED)
        self.set_dash_pattern(dash=1.5, gap=1.5)
        self.line(0, y, 210, y)
        self.set_dash_pattern()
        self.put(LEFT, y + 5, "Betalingsinformasjon", size=13, bold=True, color=ACCENT)
        self.put(RIGHT - 80, y + 5.4, f"Betales innen {day(i.due)}", w=80, align="R", size=11, bold=True)
        for x, name, party in ((LEFT, "BETALT AV", i.buyer), (LEFT + 62, "BETALT TIL", i.seller)):
            self.label(x, y + 16, name)
            for row, text in enumerate((party.name, party.address, f"{party.postcode} {party.city}")):
                self.put(x, y + 20 + row * 4.6, text, bold=row == 0)
        x = LEFT + 124
        for row, (name, value) in enumerate((("IBAN", grouped(pay.iban, 4)), ("BIC", pay.bic), ("Bank", pay.bank))):
            self.put(x, y + 20 + row * 4.6, name, color=MUTED)
            self.put(x, y + 20 + row * 4.6, value, w=RIGHT - x, align="R", size=8.5)
        self.block(LEFT, y + 40, WIDTH, 17, TINT)
        kroner_digits, ore = f"{i.payable:.2f}".split(".")
        boxes = (
            ("KID", pay.kid, 60.0),
            ("Kroner", kroner_digits, 32.0),
            ("Øre", ore, 14.0),
            ("Kontrollsiffer", f"< {mod10(kroner_digits + ore)} >", 26.0),
            ("Til konto", f"{pay.account[:4]}.{pay.account[4:6]}.{pay.account[6:]}", 42.0),
        )
        x = LEFT
        for name, value, width in boxes:
            self.label(x + 3, y + 42, name)
            self.put(x + 3, y + 47.5, value, size=12, bold=True)
            x += width
        self.label(
            LEFT,
            y + 60,
            "Oppgi alltid KID ved betaling. Fakturaen er laget til øving: navn, numre og kontoer er oppdiktet.",
            w=WIDTH,
        )


def vat_number(party: Party) -> str:
    """The organisation number of a VAT-registered company: NO 900 000 000 MVA."""
    return f"NO {grouped(party.orgnr, 3)} MVA"
