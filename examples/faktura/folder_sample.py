"""
The 25 invoices of the folder: sellers, goods and faults, made from one seed.

Fictitious throughout. Number 17 prints a total that is not the sum of its lines, number 21 a KID with a wrong digit.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal

from checkdigits import iban, mod10, mod11
from invoice import Line, to_ore

COUNT, WRONG_SUM, WRONG_KID = 25, 17, 21
CREDIT_NOTES, FOREIGN, REVERSE, WITHOUT_KID, LONG, TWO_RATES = (6, 19), (9, 14), (9,), (3, 11, 18), (8, 23), (2, 8, 15)

_SELLERS = (
    ("Øyra Kontorrekvisita AS", "Storgata 3", "6999 Øyra"),
    ("Fjellheim Trelast AS", "Sagvegen 21", "2899 Fjellheim"),
    ("Havbris Rengjøring", "Bryggen 8", "5999 Havbris"),
    ("Solli Bakeri og Kafé AS", "Torget 1", "1799 Solli"),
    ("Nordlys Data AS", "Polarvegen 40", "9199 Nordlys"),
    ("Ås Rør & Varme AS", "Industrivegen 12", "1499 Ås"),
    ("Sæterdalen Regnskap", "Kyrkjevegen 5", "4799 Sæterdalen"),
)
_BUYERS = (("Blåfjell Rådgiving AS", "901483051"), ("Lysholmen Eiendom AS", "902615474"))
#: Item, text, unit, price, VAT rate.
_GOODS = (
    ("1001", "Kopipapir A4, 80 g", "pk", "49.90", 25),
    ("1044", "Blekkpatron, svart", "stk", "279.00", 25),
    ("2210", "Konsulenttime", "time", "1250.00", 25),
    ("2215", "Reisetid", "time", "625.00", 25),
    ("3100", "Kaffe, filtermalt", "kg", "189.50", 15),
    ("3120", "Lunsj, levert", "stk", "142.00", 15),
    ("3305", "Brød, grovt", "stk", "48.40", 15),
    ("4010", "Togbillett t/r", "stk", "698.00", 12),
    ("4022", "Overnatting", "døgn", "1180.00", 12),
    ("5300", "Plank 48x98, gran", "m", "34.75", 25),
    ("5310", "Skruer, rustfrie", "eske", "159.00", 25),
    ("6001", "Fagbok", "stk", "420.00", 0),
    ("7700", "Rengjøring, kontor", "m2", "18.20", 25),
    ("8120", "Serverdrift, måned", "mnd", "2490.00", 25),
)


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of the folder. Amounts of a credit note are negative."""

    position: int
    number: str
    credit_of: str | None
    issued: date
    days: int
    currency: str
    rate: Decimal | None  # kroner for one unit of a foreign currency
    reverse_charge: bool
    kid: str | None
    account: str
    seller: tuple[str, str, str]
    seller_orgnr: str | None
    buyer: tuple[str, str]
    rows: tuple[Line, ...] = field(repr=False)
    printed_total: Decimal | None = None  # where the paper is wrong

    @property
    def name(self) -> str:
        """The name of its file."""
        kind = "kreditnota" if self.credit_of else "faktura"
        return f"{self.position:02}-{kind}-{self.number}.pdf"

    @property
    def due(self) -> date:
        """The last day to pay."""
        return self.issued + timedelta(days=self.days)

    @property
    def net(self) -> Decimal:
        """The sum without VAT."""
        return sum((row.net for row in self.rows), Decimal("0.00"))

    @property
    def rates(self) -> tuple[int, ...]:
        """The VAT rates that occur, highest first."""
        return tuple(sorted({row.vat for row in self.rows}, reverse=True))

    def base(self, rate: int) -> Decimal:
        """The sum without VAT at one rate."""
        return sum((row.net for row in self.rows if row.vat == rate), Decimal("0.00"))

    def vat_at(self, rate: int) -> Decimal:
        """The VAT at one rate, rounded once."""
        return to_ore(self.base(rate) * rate / 100)

    @property
    def vat(self) -> Decimal:
        """The total VAT."""
        return sum((self.vat_at(rate) for rate in self.rates), Decimal("0.00"))

    @property
    def total(self) -> Decimal:
        """The amount to pay, as printed."""
        return self.net + self.vat if self.printed_total is None else self.printed_total


def documents(seed: int = 2026) -> tuple[Document, ...]:
    """The documents of the folder, the same for the same seed."""
    rng = random.Random(seed)

    return tuple(_document(position, rng) for position in range(1, COUNT + 1))


def _document(position: int, rng: random.Random) -> Document:
    number = f"{2026_0000 + 137 * position}"
    foreign = position in FOREIGN
    count = rng.randint(28, 32) if position in LONG else rng.randint(1, 7)
    sign = -1 if position in CREDIT_NOTES else 1
    rows = tuple(_row(rng, sign) for _ in range(count))
    if position in TWO_RATES:  # at least three rates
        rows += tuple(_row(rng, sign, vat=rate) for rate in (25, 15, 12))
    if foreign:
        rows = tuple(replace(row, vat=0, price=to_ore(row.price / 11)) for row in rows)
    account = _account(rng)
    kid_body = f"{rng.randrange(10**6):06}{number}"
    kid = None if foreign or position in (*WITHOUT_KID, *CREDIT_NOTES) else kid_body + mod10(kid_body)
    document = Document(
        position=position,
        number=number,
        credit_of=f"{2026_0000 + 137 * position - 411}" if sign < 0 else None,
        issued=date(2026, 9, 1) + timedelta(days=3 * position),
        days=rng.choice((10, 14, 30)),
        currency="EUR" if foreign else "NOK",
        rate=Decimal("11.4180") if foreign else None,
        reverse_charge=position in REVERSE,
        kid=kid,
        account=iban("DE", f"50010517{rng.randrange(10**10):010}") if foreign else account,
        seller=("Weber Büromöbel GmbH", "Hafenstraße 12", "20457 Hamburg") if foreign else rng.choice(_SELLERS),
        seller_orgnr=None if foreign else _orgnr(rng),
        buyer=rng.choice(_BUYERS),
        rows=rows,
    )
    if position == WRONG_SUM:
        document = replace(document, printed_total=document.total + Decimal("900.00"))
    if position == WRONG_KID and document.kid:
        wrong = str((int(document.kid[-1]) + 3) % 10)
        document = replace(document, kid=document.kid[:-1] + wrong)

    return document


def _row(rng: random.Random, sign: int, *, vat: int | None = None) -> Line:
    item, text, unit, price, rate = rng.choice([goods for goods in _GOODS if vat in (None, goods[4])])
    quantity = Decimal(rng.randint(1, 40)) if unit not in ("kg", "time", "m") else Decimal(rng.randint(2, 60)) / 4

    return Line(
        item=item,
        text=text,
        detail="",
        quantity=sign * quantity,
        unit=unit,
        price=Decimal(price),
        discount=Decimal(rng.choice(("0", "0", "0", "5", "12.5"))),
        vat=rate,
    )


def _orgnr(rng: random.Random) -> str:
    while True:
        body = f"9{rng.randrange(10**7):07}"
        if (digit := mod11(body)) != "-":
            return body + digit


def _account(rng: random.Random) -> str:
    while True:
        body = f"9990{rng.randrange(10**6):06}"
        if (digit := mod11(body)) != "-":
            return body + digit
