"""Plausible values: field names hint at them, and their check digits are valid."""

import re
from random import Random

import pytest

from claude_relay.sandbox import regex_faker, value_faker


def named(name, seed="s"):
    words = value_faker.plain(name)
    return value_faker.text(value_faker.FieldName(words, Random(f"{seed}/{name}"), seed))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("fakturaDato", r"2026-\d\d-\d\d"),
        ("forfallsdato", r"2026-\d\d-\d\d"),
        ("invoice_date", r"2026-\d\d-\d\d"),
        ("beløp", r"\d+\.\d\d"),
        ("totalBeloepInklMva", r"\d+\.\d\d"),
        ("mvaSats", r"25|15|12"),
        ("kid", r"\d{12}"),
        ("kontonummer", r"\d{11}"),
        ("bankkonto", r"\d{11}"),
        ("iban", r"NO\d{13}"),
        ("orgnr", r"9\d{8}"),
        ("organisasjonsnummer", r"9\d{8}"),
        ("mvaNummer", r"NO 9\d{8} MVA"),
        ("selgerNavn", r".+ (AS|ANS)"),
        ("kundenr", r"\d{6}"),
        ("fakturanr", r"\d{6}"),
        ("leveringsadresse", r".+ \d+"),
        ("kjøper_postnr", r"\d{4}"),
        ("poststed", r"\w+"),
        ("valuta", r"NOK"),
        ("epost", r".+@sandbox\.example"),
        ("email", r".+@sandbox\.example"),
        ("telefon", r"\+47 .*"),
        ("landkode", r"NO"),
        ("enhet", r"stk"),
        ("kontaktperson", r"\w+ \w+"),
        ("mva0Begrunnelse", r"Eksempeltekst .*sandbox.*"),
        ("linje3Beskrivelse", r"[A-Z].*"),
        ("farge", r"sandbox farge"),
    ],
)
def test_a_name_hints_at_its_value(name, pattern):
    assert re.fullmatch(pattern, named(name)), named(name)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("år", 2026, 2026),
        ("antall", 1, 20),
        ("mvaProsent", 12, 25),
        ("netto_beløp", 50, 25_000),
        ("postnr", 1000, 9999),
    ],
)
def test_a_name_hints_at_its_number(name, low, high):
    assert all(low <= value_faker.number(value_faker.plain(name), Random(seed)) <= high for seed in range(50))


def test_a_postal_code_and_its_town_belong_together():
    for seed in map(str, range(20)):
        assert (named("selgerPostnr", seed), named("selgerPoststed", seed)) in value_faker._PLACES


def test_a_kid_passes_the_luhn_test():
    for seed in range(50):
        number = value_faker.mod10(value_faker.digits(Random(seed), 11))
        doubled = [int(c) * (2 if i % 2 else 1) for i, c in enumerate(reversed(number))]
        assert sum(n // 10 + n % 10 for n in doubled) % 10 == 0


@pytest.mark.parametrize(
    ("make", "weights"),
    [(value_faker.account, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)), (value_faker.organisation, (3, 2, 7, 6, 5, 4, 3, 2, 1))],
)
def test_account_and_organisation_numbers_pass_modulus_11(make, weights):
    for seed in range(50):
        number = make(Random(seed))
        assert len(number) == len(weights)
        assert sum(int(c) * w for c, w in zip(number, weights, strict=True)) % 11 == 0


def test_an_iban_passes_modulus_97():
    number = value_faker.iban(Random(1))
    turned = number[4:] + "2324" + number[2:4]

    assert int(turned) % 97 == 1


@pytest.mark.parametrize(
    "pattern",
    [r"^\d{2}\.\d{2}\.\d{4}$", r"^(?:a|b)+$", r"^(\w)\1$", r"^[^a-z]{5}$", r"^\S+@\S+$", r"^.{3,}?z\b", r"^$"],
)
def test_a_pattern_is_matched(pattern):
    text = regex_faker.example(pattern, Random(1))

    assert text is not None
    assert re.search(pattern, text)


def test_a_pattern_is_matched_within_lengths():
    text = regex_faker.example(r"^[a-z]+$", Random(1), least=30, most=40)

    assert text is not None
    assert 30 <= len(text) <= 40


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"a{999999}", r"[", r"^abc$(?<=d)"])
def test_an_unsupported_pattern_gives_none(pattern):
    assert regex_faker.example(pattern, Random(1)) is None
