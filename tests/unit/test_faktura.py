"""The invoice of examples/faktura: sums, check digits, and consistency of its files."""

import json
import re
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from claude_relay.demo import faktura_request

EXAMPLE = Path(__file__).parents[2] / "examples" / "faktura"
MODULES = ("checkdigits", "invoice", "sample", "fields", "paper", "layout", "make_invoice")
LINES = range(1, 13)


@pytest.fixture(scope="module")
def example() -> Iterator[SimpleNamespace]:
    """The example's modules, imported as by its script and unloaded afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        yield SimpleNamespace(**{name: import_module(name) for name in MODULES})

    for name in MODULES:
        del sys.modules[name]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json.loads((EXAMPLE / "schema.json").read_bytes())


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """The committed answer, its amounts as exact decimals."""
    return json.loads((EXAMPLE / "answer.json").read_bytes(), parse_float=Decimal, parse_int=Decimal)


@pytest.fixture(scope="module")
def pdf() -> bytes:
    return (EXAMPLE / "faktura.pdf").read_bytes()


def attachment(example: SimpleNamespace) -> dict[str, Any]:
    """What the sandbox answers for the invoice."""
    return {"sandboxAnswer": example.fields.answer(example.sample.SAMPLE)}


def printed(pdf: bytes) -> list[str]:
    """Every string on the pages, in order: the streams are not compressed."""
    strings = re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", pdf, re.DOTALL)
    return [re.sub(rb"\\(.)", rb"\1", text).decode("latin-1").replace("\u00a0", " ") for text in strings]


def producer(pdf: bytes) -> bytes:
    """The library and version that made a PDF."""
    return re.search(rb"/Producer \((.*)\)", pdf)[1]


def ore(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


# The check digits, against numbers that are known from elsewhere.


def test_mod10_is_the_luhn_digit(example: SimpleNamespace) -> None:
    assert example.checkdigits.mod10("7992739871") == "3"
    assert example.checkdigits.mod10("0") == "0"


@pytest.mark.parametrize(("body", "digit"), [("97476067", "3"), ("1234567890", "3"), ("4444", "-")])
def test_mod11_weighs_from_the_right(example: SimpleNamespace, body: str, digit: str) -> None:
    """
    An organisation number, an account number, and a remainder that needs two figures.
    """
    assert digit == example.checkdigits.mod11(body)


def test_an_iban_is_made_from_the_account(example: SimpleNamespace) -> None:
    """
    The Norwegian example of the IBAN registry.
    """
    assert example.checkdigits.iban("NO", "86011117947") == "NO9386011117947"


@pytest.mark.parametrize(
    ("rule", "good"),
    [
        ("is_orgnr", "974760673"),
        ("is_account", "12345678903"),
        ("is_account", "86011117947"),
        ("is_iban", "NO9386011117947"),
        ("is_iban", "GB82WEST12345698765432"),
    ],
)
def test_a_good_number_passes_and_no_figure_of_it_can_be_misread(
    example: SimpleNamespace, rule: str, good: str
) -> None:
    check = getattr(example.checkdigits, rule)
    places = [at for at, char in enumerate(good) if char.isdigit()]
    misread = [good[:at] + digit + good[at + 1 :] for at in places for digit in "0123456789" if digit != good[at]]

    assert check(good)
    assert not [number for number in misread if check(number)]


def test_a_kid_may_be_guarded_by_either_rule(example: SimpleNamespace) -> None:
    """
    By mod10, by mod11 (with its dash), and by nothing else.
    """
    good = [digit for digit in "0123456789-" if example.checkdigits.is_kid(f"7992739871{digit}")]

    assert good == sorted({"3", example.checkdigits.mod11("7992739871")})
    assert example.checkdigits.is_kid("4444-")


@pytest.mark.parametrize("rule", ["is_orgnr", "is_account", "is_kid", "is_iban"])
@pytest.mark.parametrize(
    "text", ["", "1", "-", "97476067", "974 760 673", "97476067³", "NO93 8601 1117 947", "no938601"]
)
def test_an_invalid_number_is_refused(example: SimpleNamespace, rule: str, text: str) -> None:
    """
    Empty, short, spaced and exotic text is simply not valid.
    """
    assert not getattr(example.checkdigits, rule)(text)


# The sums, recomputed here from the committed answer alone.


def test_each_line_is_quantity_times_price_less_discount(answer: dict[str, Any]) -> None:
    for n in LINES:
        quantity, price = answer[f"linje{n}Antall"], answer[f"linje{n}Enhetspris"]
        net = ore(quantity * price * (100 - answer[f"linje{n}RabattProsent"]) / 100)

        assert net == answer[f"linje{n}Belop"] > 0


def test_the_vat_is_computed_once_per_rate(answer: dict[str, Any]) -> None:
    for rate in (25, 15, 12, 0):
        base = sum(answer[f"linje{n}Belop"] for n in LINES if answer[f"linje{n}MvaProsent"] == rate)

        assert base == answer[f"mva{rate}Grunnlag"] > 0
        assert ore(base * rate / 100) == answer.get(f"mva{rate}Belop", 0)


def test_the_sums_lead_to_what_is_to_be_paid(answer: dict[str, Any]) -> None:
    gross = sum(ore(answer[f"linje{n}Antall"] * answer[f"linje{n}Enhetspris"]) for n in LINES)

    assert gross == answer["sumForRabatt"]
    assert gross - answer["sumRabatt"] == answer["sumUtenMva"] == sum(answer[f"linje{n}Belop"] for n in LINES)
    assert answer["sumMva"] == sum(answer[f"mva{rate}Belop"] for rate in (25, 15, 12))
    assert answer["sumMedMva"] == answer["sumUtenMva"] + answer["sumMva"]
    assert answer["belopABetale"] == answer["sumMedMva"] + answer["oreavrunding"]
    assert answer["belopABetale"] % 1 == 0 and 0 < abs(answer["oreavrunding"]) <= Decimal("0.5")


def test_the_numbers_and_dates_of_the_answer_hold(example: SimpleNamespace, answer: dict[str, Any]) -> None:
    digits = example.checkdigits
    assert digits.is_orgnr(answer["selgerOrgnr"]) and digits.is_orgnr(answer["kjoperOrgnr"])
    assert digits.is_account(answer["betalingKontonummer"])
    assert answer["betalingKid"][-1] == digits.mod10(answer["betalingKid"][:-1])
    assert digits.is_iban(answer["betalingIban"]) and answer["betalingIban"][4:] == answer["betalingKontonummer"]

    term = timedelta(days=int(answer["betalingsfristDager"]))
    assert date.fromisoformat(answer["forfallsdato"]) == date.fromisoformat(answer["fakturadato"]) + term


# The schema, held to what structured output takes.


def test_the_schema_has_133_flat_fields_that_are_all_required(schema: dict[str, Any]) -> None:
    assert len(schema["properties"]) == 133
    assert list(schema["properties"]) == schema["required"]
    assert {"type", "properties", "required", "additionalProperties"} == set(schema)
    assert schema["additionalProperties"] is False
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]*", name) for name in schema["properties"])


def test_every_field_is_a_described_leaf_that_structured_output_takes(schema: dict[str, Any]) -> None:
    """
    No bounds or patterns, and at most 16 unions: more than that is a 400 from Claude's API.
    """
    fields = schema["properties"].values()
    for field in fields:
        assert set(field) <= {"type", "format", "enum", "description"}
        assert field["description"].endswith(".")
        kinds = {field["type"]} if isinstance(field["type"], str) else set(field["type"])
        assert kinds - {"null"} < {"string", "number", "integer", "boolean"}
        assert field.get("format") in (None, "date")

    assert 0 < sum(isinstance(field["type"], list) for field in fields) <= 16


def test_the_answer_fits_the_schema(schema: dict[str, Any]) -> None:
    answer = json.loads((EXAMPLE / "answer.json").read_bytes())

    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=FormatChecker(["date"])).validate(answer)


def test_unused_slots_are_empty_and_a_longer_invoice_says_so(example: SimpleNamespace, schema: dict[str, Any]) -> None:
    """
    Missing values are empty or 0, never absent; the thirteenth line counts although it has no slot.
    """
    sample, validator = example.sample.SAMPLE, Draft202012Validator(schema)
    short = example.fields.answer(replace(sample, lines=sample.lines[:1]))
    long = example.fields.answer(replace(sample, lines=(*sample.lines, sample.lines[0])))

    validator.validate(short)
    assert (short["linje2Beskrivelse"], short["linje2Antall"], short["mva25Grunnlag"]) == ("", 0, 0)
    validator.validate(long)
    assert long["antallLinjer"] == 13


# The files, held to each other.


def test_the_committed_pdf_is_up_to_date(example: SimpleNamespace, pdf: bytes) -> None:
    """
    The same text always, and the same bytes with the same version of fpdf2.
    """
    fresh = example.layout.render(example.sample.SAMPLE, attachment(example))

    assert printed(fresh) == printed(pdf)
    if producer(fresh) == producer(pdf):
        assert fresh == pdf


def test_the_same_data_gives_the_same_bytes(example: SimpleNamespace) -> None:
    files = [example.layout.render(example.sample.SAMPLE, attachment(example)) for _ in range(2)]

    assert files[0] == files[1]


def test_the_paper_shows_the_texts_dates_and_sums_of_the_answer(
    example: SimpleNamespace, answer: dict[str, Any], pdf: bytes
) -> None:
    """
    The answer claims nothing that a reader of the paper could not find.
    """
    told_otherwise = {"dokumenttype", "valuta", "antallSider", "antallLinjer", "selgerLand", "kjoperLand"}
    text = " | ".join(printed(pdf))
    tight = re.sub(r"[ .]", "", text)

    for name, value in answer.items():
        if name in told_otherwise or name.startswith("linje") or value is None or isinstance(value, bool):
            continue
        if name == "betalingsfristDager":
            assert f"Netto {value} dager" in text
        elif isinstance(value, Decimal):
            # A discount is a positive number in the answer and stands with its sign on the paper.
            shown = example.paper.kroner(-value if name == "sumRabatt" else value).replace("\u00a0", " ")
            assert f"| {shown} |" in text, name
        elif re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            assert example.paper.day(date.fromisoformat(value)) in text, name
        else:
            assert value in text or value in tight, name


@pytest.mark.parametrize("n", LINES)
def test_each_line_on_the_paper_is_the_answers(
    example: SimpleNamespace, answer: dict[str, Any], pdf: bytes, n: int
) -> None:
    """
    Quantity, price, discount, VAT rate and amount stand in one row with the text.
    """
    paper = example.paper
    quantity, price, discount, rate, net = (
        answer[f"linje{n}{what}"] for what in ("Antall", "Enhetspris", "RabattProsent", "MvaProsent", "Belop")
    )
    text = printed(pdf)
    start = text.index(answer[f"linje{n}Beskrivelse"]) + 1
    shown = [paper.plain(quantity), paper.kroner(price), f"{paper.plain(rate)} %", paper.kroner(net)]
    if discount:
        shown.insert(2, f"{paper.plain(discount)} %")
    row = text[start : start + len(shown) + 1]

    assert [cell for at, cell in enumerate(row) if at != 1] == [cell.replace("\u00a0", " ") for cell in shown]


def test_the_paper_has_two_pages_and_lines_on_both(answer: dict[str, Any], pdf: bytes) -> None:
    """
    The list continues on the next page with its sum carried over.
    """
    text = printed(pdf)
    turn = text.index("Overført fra side 1")

    assert 2 == answer["antallSider"] == pdf.count(b"/Type /Page\n")
    assert text.index("Overføres til side 2") < turn
    assert text.index(answer["linje1Beskrivelse"]) < turn < text.index(answer["linje12Beskrivelse"])


def test_the_committed_schema_and_answer_are_up_to_date(example: SimpleNamespace) -> None:
    files = example.make_invoice.make(example.sample.SAMPLE)

    for name in ("schema.json", "answer.json"):
        assert (EXAMPLE / name).read_bytes() == files[EXAMPLE / name]


def test_the_committed_request_is_up_to_date(example: SimpleNamespace, schema: dict[str, Any], pdf: bytes) -> None:
    request = json.loads((EXAMPLE / "request.json").read_bytes())
    [file] = request["files"]

    assert request == example.make_invoice.request(pdf)
    assert schema == request["options"]["outputSchema"]
    assert pdf == b64decode(file["data"], validate=True)
    assert "webhookUrl" not in request


def test_the_package_contains_the_same_request() -> None:
    """
    `claude-relay demo` sends the same request from a wheel; each caller gets its own copy.
    """
    committed = json.loads((EXAMPLE / "request.json").read_bytes())
    faktura_request()["prompt"] = "changed"

    assert committed == faktura_request()


def test_the_example_readme_is_correct(answer: dict[str, Any], schema: dict[str, Any]) -> None:
    """
    The values it quotes, and the number of nullable fields.
    """
    text = (EXAMPLE / "README.md").read_text()
    quoted = json.loads(re.search(r"```json\n(.*?)```", text, re.DOTALL)[1], parse_float=Decimal)

    assert len(quoted) > 5 and quoted.items() <= answer.items()
    nullable = sum("null" in field["type"] for field in schema["properties"].values())
    assert f"this schema has {nullable}." in text
