"""
A fictitious invoice that is correct to the øre: the data, and the sums as pure functions of it.

All names, numbers and addresses are invented; only the arithmetic and the check digits are real.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from checkdigits import mod10

ORE = Decimal("0.01")
KRONE = Decimal("1")
VAT_RATES = (25, 15, 12, 0)


def to_ore(amount: Decimal) -> Decimal:
    """Round commercially: half an øre is rounded away from zero."""
    return amount.quantize(ORE, ROUND_HALF_UP)


@dataclass(frozen=True, kw_only=True)
class Party:
    """Seller or buyer."""

    name: str
    orgnr: str
    address: str
    postcode: str
    city: str
    email: str
    phone: str = ""
    website: str = ""
    country: str = "NO"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One item sold. The price is per unit and without VAT."""

    item: str
    text: str
    detail: str
    quantity: Decimal
    unit: str
    price: Decimal
    discount: Decimal
    vat: int

    @property
    def gross(self) -> Decimal:
        """The amount before the discount."""
        return to_ore(self.quantity * self.price)

    @property
    def net(self) -> Decimal:
        """The amount after the discount, without VAT."""
        return to_ore(self.quantity * self.price * (100 - self.discount) / 100)


@dataclass(frozen=True, kw_only=True)
class Payment:
    """The payment details."""

    kid: str
    account: str
    iban: str
    bic: str
    bank: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Invoice:
    """All data printed on the invoice; computed values are properties."""

    number: str
    issued: date
    days: int
    customer: str
    order: str
    purchase_order: str
    project: str
    contract: str | None
    our_reference: str
    their_reference: str
    seller: Party
    buyer: Party
    delivered_from: date
    delivered_to: date
    delivery_name: str
    delivery_address: str
    delivery_postcode: str
    delivery_city: str
    lines: tuple[Line, ...]
    payment: Payment
    zero_rate_reason: str
    note: str

    @property
    def due(self) -> date:
        """The last day to pay."""
        return self.issued + timedelta(days=self.days)

    @property
    def gross(self) -> Decimal:
        """The sum before discounts, without VAT."""
        return _sum(line.gross for line in self.lines)

    @property
    def discount(self) -> Decimal:
        """The total discount."""
        return self.gross - self.net

    @property
    def net(self) -> Decimal:
        """The sum after discounts, without VAT."""
        return _sum(line.net for line in self.lines)

    def base(self, rate: int) -> Decimal:
        """The sum without VAT at one VAT rate."""
        return _sum(line.net for line in self.lines if line.vat == rate)

    def vat_at(self, rate: int) -> Decimal:
        """The VAT at one rate: rounded once on its sum, as the specification shows it, not line by line."""
        return to_ore(self.base(rate) * rate / 100)

    @property
    def vat(self) -> Decimal:
        """The total VAT."""
        return _sum(self.vat_at(rate) for rate in VAT_RATES)

    @property
    def total(self) -> Decimal:
        """The sum with VAT, before rounding to whole kroner."""
        return self.net + self.vat

    @property
    def payable(self) -> Decimal:
        """The amount to pay, in whole kroner."""
        return to_ore(self.total.quantize(KRONE, ROUND_HALF_UP))

    @property
    def rounding(self) -> Decimal:
        """Øreavrunding: the difference made by rounding."""
        return self.payable - self.total


def payment_reference(customer: str, invoice: str) -> str:
    """The KID: customer and invoice number, seven digits each, and the mod10 digit."""
    body = f"{customer:0>7}{invoice:0>7}"
    return body + mod10(body)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, Decimal("0.00"))
