"""
The 133 fields: one row each, with its type, description and correct value.

Schema and answer come from the same rows, so they cannot disagree. They are flat, so that a Make scenario can map
`json.fakturanummer` without an iterator. The limits of Claude's structured output determine the rest: every field is
required, and at most 16 may be nullable. So a missing amount is 0 and a missing string is empty, except where the
distinction between "missing" and "empty" is worth one of the 16.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from invoice import Invoice, Line

LINE_SLOTS = 12

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
COUNT = {"type": "integer"}
FLAG = {"type": "boolean"}
DAY = {"type": "string", "format": "date"}
DOCUMENT = {"type": "string", "enum": ["faktura", "kreditnota"]}
TEXT_OR_NULL = {"type": ["string", "null"]}
DAY_OR_NULL = {"type": ["string", "null"], "format": "date"}


@dataclass(frozen=True)
class Field:
    """One property of the schema, with a function for its value on an invoice."""

    name: str
    shape: dict[str, Any]
    description: str
    value: Callable[[Invoice], Any]


DOCUMENT_FIELDS = (
    Field("dokumenttype", DOCUMENT, "Om dokumentet er en faktura eller en kreditnota.", lambda _: "faktura"),
    Field("fakturanummer", TEXT, "Fakturaens nummer, slik det står.", lambda i: i.number),
    Field("fakturadato", DAY, "Datoen fakturaen er utstedt, som ÅÅÅÅ-MM-DD.", lambda i: i.issued),
    Field("forfallsdato", DAY, "Siste frist for betaling, som ÅÅÅÅ-MM-DD.", lambda i: i.due),
    Field("betalingsfristDager", COUNT, "Antall dager fra fakturadato til forfall.", lambda i: i.days),
    Field("valuta", TEXT, "Valutakode etter ISO 4217, for eksempel NOK.", lambda _: "NOK"),
    Field("kundenummer", TEXT, "Kjøpers kundenummer hos selger.", lambda i: i.customer),
    Field("ordrenummer", TEXT, "Selgers ordrenummer.", lambda i: i.order),
    Field(
        "bestillingsnummer", TEXT_OR_NULL, "Kjøpers bestillingsnummer; null om det mangler.", lambda i: i.purchase_order
    ),
    Field(
        "prosjektnummer", TEXT_OR_NULL, "Prosjektet kjøper ba om å få påført; null om det mangler.", lambda i: i.project
    ),
    Field(
        "kontraktnummer", TEXT_OR_NULL, "Nummer på avtale eller kontrakt; null om det mangler.", lambda i: i.contract
    ),
    Field("varReferanse", TEXT, "Selgers kontaktperson (vår referanse).", lambda i: i.our_reference),
    Field("deresReferanse", TEXT, "Kjøpers kontaktperson (deres referanse).", lambda i: i.their_reference),
    Field("antallSider", COUNT, "Antall sider i dokumentet.", lambda _: 2),
    Field(
        "antallLinjer", COUNT, "Antall fakturalinjer på papiret, også når det er flere enn 12.", lambda i: len(i.lines)
    ),
)

SELLER_FIELDS = (
    Field("selgerNavn", TEXT, "Selgers firmanavn.", lambda i: i.seller.name),
    Field(
        "selgerOrgnr",
        TEXT,
        "Selgers organisasjonsnummer: ni sifre uten mellomrom, NO eller MVA.",
        lambda i: i.seller.orgnr,
    ),
    Field("selgerMvaRegistrert", FLAG, "Om MVA står etter selgers organisasjonsnummer.", lambda _: True),
    Field("selgerForetaksregisteret", FLAG, "Om fakturaen nevner Foretaksregisteret.", lambda _: True),
    Field("selgerAdresse", TEXT, "Selgers gate og nummer.", lambda i: i.seller.address),
    Field("selgerPostnummer", TEXT, "Selgers postnummer, fire sifre.", lambda i: i.seller.postcode),
    Field("selgerPoststed", TEXT, "Selgers poststed.", lambda i: i.seller.city),
    Field(
        "selgerLand",
        TEXT,
        "Selgers land, to bokstaver etter ISO 3166; NO når intet annet står.",
        lambda i: i.seller.country,
    ),
    Field("selgerEpost", TEXT, "Selgers e-postadresse.", lambda i: i.seller.email),
    Field("selgerTelefon", TEXT, "Selgers telefonnummer, slik det står.", lambda i: i.seller.phone),
    Field("selgerNettsted", TEXT_OR_NULL, "Selgers nettsted; null om det mangler.", lambda i: i.seller.website),
)

BUYER_FIELDS = (
    Field("kjoperNavn", TEXT, "Kjøpers firmanavn.", lambda i: i.buyer.name),
    Field("kjoperOrgnr", TEXT, "Kjøpers organisasjonsnummer: ni sifre uten mellomrom.", lambda i: i.buyer.orgnr),
    Field("kjoperAdresse", TEXT, "Kjøpers gate og nummer.", lambda i: i.buyer.address),
    Field("kjoperPostnummer", TEXT, "Kjøpers postnummer, fire sifre.", lambda i: i.buyer.postcode),
    Field("kjoperPoststed", TEXT, "Kjøpers poststed.", lambda i: i.buyer.city),
    Field(
        "kjoperLand",
        TEXT,
        "Kjøpers land, to bokstaver etter ISO 3166; NO når intet annet står.",
        lambda i: i.buyer.country,
    ),
    Field(
        "kjoperEpost", TEXT_OR_NULL, "Kjøpers adresse for fakturamottak; null om den mangler.", lambda i: i.buyer.email
    ),
)

DELIVERY_FIELDS = (
    Field(
        "leveringFra",
        DAY_OR_NULL,
        "Leveringsdato, eller første dag i perioden; null om den mangler.",
        lambda i: i.delivered_from,
    ),
    Field("leveringTil", DAY_OR_NULL, "Siste dag i leveringsperioden; null om den mangler.", lambda i: i.delivered_to),
    Field("leveringNavn", TEXT, "Navnet på stedet det er levert til.", lambda i: i.delivery_name),
    Field("leveringAdresse", TEXT, "Leveringsstedets gate og nummer.", lambda i: i.delivery_address),
    Field("leveringPostnummer", TEXT, "Leveringsstedets postnummer.", lambda i: i.delivery_postcode),
    Field("leveringPoststed", TEXT, "Leveringsstedets poststed.", lambda i: i.delivery_city),
)

PAYMENT_FIELDS = (
    Field(
        "betalingKid", TEXT, "KID-nummeret, bare sifre (og eventuell bindestrek til slutt).", lambda i: i.payment.kid
    ),
    Field(
        "betalingKontonummer",
        TEXT,
        "Kontonummeret det betales til: elleve sifre uten skilletegn.",
        lambda i: i.payment.account,
    ),
    Field("betalingIban", TEXT, "IBAN uten mellomrom.", lambda i: i.payment.iban),
    Field("betalingBic", TEXT, "BIC (SWIFT) til banken.", lambda i: i.payment.bic),
    Field("betalingBank", TEXT_OR_NULL, "Navnet på banken; null om det mangler.", lambda i: i.payment.bank),
    Field(
        "betalingsmerknad",
        TEXT_OR_NULL,
        "Hva som står om forsinket betaling; null om det mangler.",
        lambda i: i.payment.note,
    ),
)

VAT_FIELDS = (
    Field("mva25Grunnlag", NUMBER, "Grunnlag for 25 % mva i kroner; 0 om satsen ikke er brukt.", lambda i: i.base(25)),
    Field("mva25Belop", NUMBER, "Mva med 25 % i kroner; 0 om satsen ikke er brukt.", lambda i: i.vat_at(25)),
    Field("mva15Grunnlag", NUMBER, "Grunnlag for 15 % mva i kroner; 0 om satsen ikke er brukt.", lambda i: i.base(15)),
    Field("mva15Belop", NUMBER, "Mva med 15 % i kroner; 0 om satsen ikke er brukt.", lambda i: i.vat_at(15)),
    Field("mva12Grunnlag", NUMBER, "Grunnlag for 12 % mva i kroner; 0 om satsen ikke er brukt.", lambda i: i.base(12)),
    Field("mva12Belop", NUMBER, "Mva med 12 % i kroner; 0 om satsen ikke er brukt.", lambda i: i.vat_at(12)),
    Field("mva0Grunnlag", NUMBER, "Beløp uten mva (0 %) i kroner; 0 om det ikke er noe.", lambda i: i.base(0)),
    Field(
        "mva0Begrunnelse",
        TEXT_OR_NULL,
        "Hvorfor 0 %, slik det står; null om det mangler.",
        lambda i: i.zero_rate_reason,
    ),
)

SUM_FIELDS = (
    Field("sumForRabatt", NUMBER, "Sum av linjene før rabatt, uten mva.", lambda i: i.gross),
    Field("sumRabatt", NUMBER, "Samlet rabatt uten mva, som positivt tall.", lambda i: i.discount),
    Field("sumUtenMva", NUMBER, "Sum etter rabatt, uten mva.", lambda i: i.net),
    Field("sumMva", NUMBER, "Samlet mva.", lambda i: i.vat),
    Field("sumMedMva", NUMBER, "Sum med mva, før øreavrunding.", lambda i: i.total),
    Field("oreavrunding", NUMBER, "Øreavrunding; negativ når det rundes ned.", lambda i: i.rounding),
    Field("belopABetale", NUMBER, "Beløpet som skal betales.", lambda i: i.payable),
    Field("merknad", TEXT_OR_NULL, "Fri tekst fra selger til kjøper; null om den mangler.", lambda i: i.note),
)


def _line_fields(number: int) -> tuple[Field, ...]:
    """The six fields of one line; a slot without a line has empty strings and zeros."""

    def of(pick: Callable[[Line], Any], missing: Any = Decimal(0)) -> Callable[[Invoice], Any]:
        return lambda i: pick(i.lines[number - 1]) if number <= len(i.lines) else missing

    name, where = f"linje{number}", f"linje {number}"
    return (
        Field(
            f"{name}Beskrivelse",
            TEXT,
            f"Hva {where} gjelder, første tekstlinje; tom om linjen mangler.",
            of(lambda x: x.text, ""),
        ),
        Field(
            f"{name}Antall", NUMBER, f"Antall eller mengde på {where}; 0 om linjen mangler.", of(lambda x: x.quantity)
        ),
        Field(f"{name}Enhetspris", NUMBER, f"Pris pr. enhet uten mva på {where}.", of(lambda x: x.price)),
        Field(f"{name}RabattProsent", NUMBER, f"Rabatt i prosent på {where}; 0 uten rabatt.", of(lambda x: x.discount)),
        Field(f"{name}MvaProsent", NUMBER, f"Mva-sats i prosent på {where}.", of(lambda x: Decimal(x.vat))),
        Field(f"{name}Belop", NUMBER, f"Beløp på {where} etter rabatt, uten mva.", of(lambda x: x.net)),
    )


FIELDS = (
    *DOCUMENT_FIELDS,
    *SELLER_FIELDS,
    *BUYER_FIELDS,
    *DELIVERY_FIELDS,
    *PAYMENT_FIELDS,
    *(field for number in range(1, LINE_SLOTS + 1) for field in _line_fields(number)),
    *VAT_FIELDS,
    *SUM_FIELDS,
)


def schema() -> dict[str, Any]:
    """The JSON Schema, with only the keywords that structured output supports."""
    return {
        "type": "object",
        "properties": {field.name: {**field.shape, "description": field.description} for field in FIELDS},
        "required": [field.name for field in FIELDS],
        "additionalProperties": False,
    }


def answer(invoice: Invoice) -> dict[str, Any]:
    """The correct answer for this invoice."""
    return {field.name: _plain(field.value(invoice)) for field in FIELDS}


def _plain(value: Any) -> Any:
    """The value as a JSON type: two decimals survive conversion to float, integers need none."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
