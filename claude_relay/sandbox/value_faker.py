"""
Plausible values from a field's name, English or Norwegian: `forfallsdato` is a date, `kid` a number with a check digit.

All companies and people here are invented; account, organisation and KID numbers are random, with valid check digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

_PLACES = (
    ("0155", "Oslo"),
    ("5003", "Bergen"),
    ("7010", "Trondheim"),
    ("4006", "Stavanger"),
    ("9008", "Tromsø"),
    ("1606", "Fredrikstad"),
    ("3015", "Drammen"),
    ("6002", "Ålesund"),
)
_COMPANIES = (
    "Nordlys Eksempel AS",
    "Fjordvik Prøve AS",
    "Granly Demo AS",
    "Havbris Eksempel ANS",
    "Tindetopp Prøve AS",
)
_STREETS = ("Storgata", "Kirkeveien", "Strandgata", "Skolegata", "Industriveien", "Parkveien")
_FIRST = ("Kari", "Ola", "Ingrid", "Lars", "Nora", "Even", "Solveig", "Jonas")
_LAST = ("Nordmann", "Hansen", "Eksempelsen", "Berg", "Lund", "Prøvestad")
_PRODUCTS = ("Konsulenttimer", "Kontorstol", "Serverleie", "Frakt", "Lisens", "Kopipapir A4")
_RATES = (25, 15, 12)


@dataclass(frozen=True)
class FieldName:
    """A field's name as plain lower-case words, and the generator of its place in the document."""

    words: str
    rng: Random
    seed: str

    def place(self) -> tuple[str, str]:
        """A postal code and its town, the same for fields whose names differ only in that."""
        owner = re.sub(r"post ?(nr|nummer|code|sted)|zip ?(code)?|city|\bby\b|\bsted\b", "", self.words)
        return randomness(self.seed, owner).choice(_PLACES)


def randomness(*parts: str) -> Random:
    """A generator seeded by these strings alone."""
    return Random("/".join(parts).encode("utf-8", "surrogatepass"))


def plain(name: str) -> str:
    """`fakturaBeløp`, `faktura_beloep` → `faktura belop`."""
    split = re.sub(r"(?<=[a-zæøå0-9])(?=[A-ZÆØÅ])", " ", name)
    lowered = re.sub(r"[\W_]+", " ", split).strip().lower()
    return lowered.replace("å", "a").replace("æ", "ae").replace("oe", "o").replace("ø", "o")


def date(rng: Random) -> str:
    """A day of 2026, as ISO 8601."""
    return f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def moment(rng: Random) -> str:
    """A time of 2026, RFC 3339."""
    return f"{date(rng)}T{clock(rng)}"


def clock(rng: Random) -> str:
    """A time of a working day, in UTC."""
    return f"{rng.randint(7, 17):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}Z"


def digits(rng: Random, count: int) -> str:
    """That many digits, the first not a zero."""
    return str(rng.randint(10 ** (count - 1), 10**count - 1))


def mod10(body: str) -> str:
    """A number with its Luhn check digit, as a KID has it."""
    total = 0
    for index, char in enumerate(reversed(body)):
        product = int(char) * (2 if index % 2 == 0 else 1)
        total += product // 10 + product % 10
    return body + str(-total % 10)


def mod11(rng: Random, first: str, weights: tuple[int, ...]) -> str:
    """A number with its modulus-11 check digit; bodies whose digit would be ten are skipped."""
    while True:
        body = first + digits(rng, len(weights) - len(first))
        check = -sum(int(char) * weight for char, weight in zip(body, weights, strict=True)) % 11
        if check < 10:
            return body + str(check)


def account(rng: Random) -> str:
    """A Norwegian account number."""
    return mod11(rng, "1", (5, 4, 3, 2, 7, 6, 5, 4, 3, 2))


def organisation(rng: Random) -> str:
    """A Norwegian organisation number."""
    return mod11(rng, "9", (3, 2, 7, 6, 5, 4, 3, 2))


def iban(rng: Random) -> str:
    """The account number in its international form."""
    number = account(rng)
    check = 98 - int(number + "232400") % 97  # N=23, O=24, then two zeros
    return f"NO{check:02}{number}"


def person(rng: Random) -> str:
    """An invented name."""
    return f"{rng.choice(_FIRST)} {rng.choice(_LAST)}"


def email(rng: Random) -> str:
    """An e-mail address that cannot exist."""
    return f"{rng.choice(_FIRST).lower()}@sandbox.example"


def money(rng: Random) -> float:
    """An amount in kroner and øre."""
    return round(rng.randint(5_000, 2_500_000) / 100, 2)


_NUMBERED = r"(nr|nummer|number|\bno|\bid|kode|code)\b"
_AMOUNT = r"bel[o]p|\bsum|total|amount|pris|price|netto|brutto|\bnet\b|gross|avgift|rabatt|\bmva|\bvat|saldo|gebyr|kost"
_PERCENT = r"prosent|percent|sats|\brate\b|\bpct\b"
_COUNT = r"antall|quantity|\bqty\b|mengde|\bcount\b"

_TEXTS: tuple[tuple[str, Callable[[FieldName], str]], ...] = (
    (r"\biban\b", lambda n: iban(n.rng)),
    (r"\b(bic|swift)", lambda n: "SANDNOKK"),
    (r"\bkid\b|\bkid ?(nr|nummer)", lambda n: mod10(digits(n.rng, 11))),
    (r"konto(?! ?(navn|eier|innehaver))|account(?! ?(name|holder))", lambda n: account(n.rng)),
    (r"(mva|vat) ?(nr|nummer|no\b|number|id)", lambda n: f"NO {organisation(n.rng)} MVA"),
    (r"\borg(anisasjons|anization|anisation)? ?(nr|nummer|no\b|number|id)", lambda n: organisation(n.rng)),
    (r"e ?post|mail", lambda n: email(n.rng)),
    (r"telefon|phone|mobil|\btlf|\bfax", lambda n: f"+47 {digits(n.rng, 2)} 00 {digits(n.rng, 2)} {digits(n.rng, 2)}"),
    (r"\burl|nettside|nettsted|website|lenke|\blink", lambda n: f"https://sandbox.example/{digits(n.rng, 4)}"),
    (r"post ?(nr|nummer|code)|\bzip", lambda n: n.place()[0]),
    (r"poststed|post sted|\bby\b|city|\bsted\b", lambda n: n.place()[1]),
    (r"land ?kode|country ?code", lambda n: "NO"),
    (r"land\b|country", lambda n: "Norge"),
    (r"adresse|address|gate\b|street", lambda n: f"{n.rng.choice(_STREETS)} {n.rng.randint(1, 98)}"),
    (r"valuta|currency", lambda n: "NOK"),
    (r"tidspunkt|timestamp|date ?time|klokke", lambda n: moment(n.rng)),
    (r"dato|date\b|forfall|frist\b|\bdue\b", lambda n: date(n.rng)),
    (r"linje ?\d* ?(beskrivelse|tekst)|line ?\d* ?description", lambda n: n.rng.choice(_PRODUCTS)),
    (
        r"beskrivelse|description|tekst\b|\btext|merknad|kommentar|comment|\bnotes?\b|betingelse|terms|vilkar|sammendrag"
        r"|summary|begrunnelse|reason|arsak",
        lambda n: "Eksempeltekst fra claude-relay sandbox, ikke fra Claude.",
    ),
    (r"periode|period", lambda n: date(n.rng)[:7]),
    (_PERCENT, lambda n: str(n.rng.choice(_RATES))),
    (_NUMBERED, lambda n: digits(n.rng, 6)),
    (_AMOUNT, lambda n: f"{money(n.rng):.2f}"),
    (_COUNT, lambda n: str(n.rng.randint(1, 20))),
    (r"enhet|\bunit", lambda n: "stk"),
    (r"sprak|language", lambda n: "nb"),
    (r"fornavn|first ?name", lambda n: n.rng.choice(_FIRST)),
    (r"etternavn|last ?name|surname", lambda n: n.rng.choice(_LAST)),
    (r"kontakt|contact|person|\batt\b|attention|saksbehandler|deres ref|var ref", lambda n: person(n.rng)),
    (r"vare|produkt|artikkel|product|article|\bitem", lambda n: n.rng.choice(_PRODUCTS)),
    (
        r"navn|name|firma|company|leverandor|selger|supplier|vendor|seller|kunde|kjoper|mottaker|buyer|customer|bank\b",
        lambda n: n.rng.choice(_COMPANIES),
    ),
)
_NUMBERS: tuple[tuple[str, Callable[[Random], float]], ...] = (
    (r"\bar\b|\byear\b", lambda rng: 2026),
    (r"avrunding|rounding", lambda rng: 0),
    (_PERCENT, lambda rng: rng.choice(_RATES)),
    (_COUNT, lambda rng: rng.randint(1, 20)),
    (r"\bside(r|tall)?\b|\bpages?\b|linje ?nr|line ?no", lambda rng: rng.randint(1, 3)),
    (r"post ?(nr|nummer)|\bzip", lambda rng: rng.randint(1000, 9999)),
    (r"dager\b|\bdays?\b|dogn", lambda rng: rng.choice((14, 30))),
    (_NUMBERED, lambda rng: rng.randint(10_000, 99_999)),
    (rf"{_AMOUNT}|grunnlag", money),
)


def text(name: FieldName) -> str:
    """A string for a field of this name; without a hint in the name, it names the sandbox."""
    for pattern, generate in _TEXTS:
        if re.search(pattern, name.words):
            return generate(name)
    return f"sandbox {name.words}".strip()


def number(words: str, rng: Random) -> float:
    """A number for a field of this name."""
    for pattern, generate in _NUMBERS:
        if re.search(pattern, words):
            return generate(rng)
    return rng.randint(1, 100)
