"""The invoice of this example: two days at a fictitious conference hotel."""

from datetime import date
from decimal import Decimal

from checkdigits import iban
from invoice import Invoice, Line, Party, Payment, payment_reference

CUSTOMER, NUMBER, ACCOUNT = "10482", "204817", "99901410824"


def _line(item: str, text: str, detail: str, quantity: str, unit: str, price: str, discount: str, vat: int) -> Line:
    return Line(
        item=item,
        text=text,
        detail=detail,
        quantity=Decimal(quantity),
        unit=unit,
        price=Decimal(price),
        discount=Decimal(discount),
        vat=vat,
    )


LINES = (
    _line("R-110", "Overnatting, enkeltrom", "20.-22. oktober, 18 rom i 2 netter", "36", "døgn", "1290.00", "10", 12),
    _line("F-010", "Frokostbuffé", "21. og 22. oktober", "36", "stk", "142.40", "0", 25),
    _line("K-220", "Konferansesal «Fjellro»", "Heldag, inntil 40 plasser", "2", "dag", "6900.00", "15", 25),
    _line("K-241", "Lyd, bilde og trådløse mikrofoner", "Leie pr. dag", "2", "dag", "1862.90", "0", 25),
    _line("K-260", "Tekniker, medgått tid", "Rigging, prøve og vakt", "6.5", "time", "865.00", "0", 25),
    _line("M-310", "Tolunsj med kaffe", "Servert i spisesalen", "38", "stk", "289.60", "5", 25),
    _line("M-340", "Treretters middag", "21. oktober, 2 gjester uten gluten", "20", "stk", "638.40", "0", 25),
    _line("T-410", "Båtskyss Nøstvåg-Lysholmen t/r", "Persontransport, 21. oktober", "20", "stk", "196.43", "0", 12),
    _line("A-420", "Inngang med omvisning", "Lysholmen kystmuseum, gruppepris", "20", "stk", "133.93", "20", 12),
    _line("V-510", "Nistepakke til hjemreisen", "Utlevert, ikke servert", "19", "stk", "117.39", "0", 15),
    _line("V-525", "Røkt fjordørret, hele sider", "Vakuumpakket, til deltakerne", "7.35", "kg", "418.26", "0", 15),
    _line("B-610", "Bok: «Ly for været»", "Innbundet, gave til deltakerne", "18", "stk", "279.00", "12.5", 0),
)

SAMPLE = Invoice(
    number=NUMBER,
    issued=date(2026, 10, 30),
    days=14,
    customer=CUSTOMER,
    order="118204",
    purchase_order="PO-77310",
    project="P-2604",
    contract=None,
    our_reference="Åse Bjørndal",
    their_reference="Håkon Sæther",
    seller=Party(
        name="Nøstvåg Kurs & Konferanse AS",
        orgnr="900714262",
        address="Strandvegen 14",
        postcode="5999",
        city="Nøstvåg",
        email="faktura@nostvag.example",
        phone="+47 57 00 00 14",
        website="www.nostvag.example",
    ),
    buyer=Party(
        name="Blåfjell Rådgiving AS",
        orgnr="901483051",
        address="Øvre Åsgate 7 B",
        postcode="0199",
        city="Oslo",
        email="fakturamottak@blafjell.example",
    ),
    delivered_from=date(2026, 10, 20),
    delivered_to=date(2026, 10, 22),
    delivery_name="Nøstvåg Fjordhotell",
    delivery_address="Hotellbakken 2",
    delivery_postcode="5999",
    delivery_city="Nøstvåg",
    lines=LINES,
    payment=Payment(
        kid=payment_reference(CUSTOMER, NUMBER),
        account=ACCOUNT,
        iban=iban("NO", ACCOUNT),
        bic="FJBKNO20",  # A 0 in the eighth place marks a test code, which no bank uses.
        bank="Fjordbygdenes Sparebank",
        note="Ved forsinket betaling beregnes rente etter lov om renter ved forsinket betaling.",
    ),
    zero_rate_reason="Fritatt: bøker, merverdiavgiftsloven § 6-4",
    note="Takk for besøket! Avtalte rabatter er trukket fra på hver linje.",
)
