"""The folder of 25 invoices: their sums, their faults, and the consistency of its files."""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from claude_relay.core.checks import review
from claude_relay.core.templates import Compiled
from claude_relay.demo import faktura_folder
from claude_relay.sandbox import attached_answer
from tests.support.intake import accepted

EXAMPLE = Path(__file__).parents[2] / "examples" / "faktura"
MODULES = ("checkdigits", "invoice", "paper", "folder_sample", "folder_layout", "make_folder")
TEMPLATE = json.loads((EXAMPLE / "template.json").read_bytes())
SCHEMA, CHECKS = TEMPLATE["options"]["outputSchema"], TEMPLATE["options"]["checks"]
FILES = sorted((EXAMPLE / "fakturaer").glob("*.pdf"))


@pytest.fixture(scope="module")
def example() -> Iterator[SimpleNamespace]:
    """The example's modules, imported as by its script and unloaded afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        yield SimpleNamespace(**{name: import_module(name) for name in MODULES})

    for name in MODULES:
        del sys.modules[name]


def attached(file: Path) -> dict[str, Any]:
    found = attached_answer.find(file.read_bytes())
    assert found is not None
    return dict(found)


def failed(answer: dict[str, Any]) -> list[str]:
    """The names of the rules that are false for an answer."""
    checks = accepted({"options": {"outputSchema": SCHEMA, "checks": CHECKS}}).request["options"]
    results = review.review(checks, json.dumps(answer), answer) or ()
    return [str(result["name"]) for result in review.failed(results)]


def test_the_committed_files_are_up_to_date(example: SimpleNamespace) -> None:
    """The script makes each of them again, byte for byte, with the same library."""
    made = example.make_folder.make()
    producer = f"fpdf2 {example.paper.FPDF_VERSION}".encode()

    assert {path.name for path in made} == {path.name for path in FILES} | {"template.json"}
    for path, content in made.items():
        if path.suffix == ".json" or producer in path.read_bytes():
            assert path.read_bytes() == content, path.name


def test_the_demo_sends_the_folder_and_its_template() -> None:
    """The copy in the package, which is in every wheel, has the committed files."""
    copy = faktura_folder()

    assert copy["template"] == TEMPLATE
    assert {row["name"]: b64decode(row["file"]) for row in copy["rows"]} == {f.name: f.read_bytes() for f in FILES}


def test_two_documents_fail_their_checks_and_two_are_misread_at_first() -> None:
    """A wrong sum and a wrong control digit; the misread ones are right once Claude is shown the failed check."""
    answers = {file.name[:2]: attached(file) for file in FILES}

    assert {key: failed(item["sandboxAnswer"]) for key, item in answers.items() if failed(item["sandboxAnswer"])} == {
        "17": ["sum + mva = å betale"],
        "21": ["KID"],
    }
    assert {key for key, item in answers.items() if "firstAnswer" in item} == {"05", "12"}
    assert all(failed(answers[key]["firstAnswer"]) for key in ("05", "12"))


def test_every_answer_matches_the_schema() -> None:
    """Lines as many as there are, with unit and item number."""
    validator = Draft202012Validator(SCHEMA)
    answers = [attached(file)["sandboxAnswer"] for file in FILES]

    assert not [error.message for answer in answers for error in validator.iter_errors(answer)]
    assert max(len(answer["linjer"]) for answer in answers) > 12


def test_the_folder_has_every_kind_of_document() -> None:
    """With and without KID, credit notes, a foreign currency, reverse charge, three VAT rates, two pages."""
    answers = [attached(file)["sandboxAnswer"] for file in FILES]

    assert len(FILES) == 25
    assert any(answer["kid"] is None for answer in answers) and any(answer["kid"] for answer in answers)
    assert any(answer["krediterer"] for answer in answers)
    assert any(answer["valuta"] == "EUR" and answer["valutakurs"] for answer in answers)
    assert any(answer["omvendtAvgiftsplikt"] for answer in answers)
    assert any(len({row["sats"] for row in answer["mva"]}) >= 3 for answer in answers)
    assert any(file.read_bytes().count(b"/Type /Page\n") == 2 for file in FILES)


def test_the_template_is_a_submit_body() -> None:
    """Its placeholders are the name and the file of a row."""
    assert set(Compiled(TEMPLATE).placeholders) == {"name", "file"}


def test_the_sandbox_fills_in_only_what_the_schema_has() -> None:
    """A value of another type stays made up, and another schema gets its own fields."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"enum": [1]}}}
    made_up, attached_file = (
        {"a": "x", "b": 1, "c": 1},
        {"sandboxAnswer": {"a": "read", "b": "no number", "c": 2, "d": 4}},
    )

    assert attached_answer.fill(made_up, schema, attached_file, repairing=False) == {"a": "read", "b": 1, "c": 1}
    assert attached_answer.find(b'%PDF {"sandboxAnswer": [1') is None
    assert attached_answer.find(b"%PDF") is None
