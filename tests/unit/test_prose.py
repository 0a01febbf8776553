"""Plain technical English: banned identifiers, banned words, and banned openings of docstrings and comments."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sources import FILES, PACKAGE, name_of, tree_of
from tests.vocabulary import count

PAGES = [
    path
    for folder in (".", "docs", "docs/reference", "docs/how-to", "docs/adr")
    for path in sorted((PACKAGE.parent / folder).glob("*.md"))
    if path.name not in ("CONTRACT.md", "CHANGELOG.md")
]

#: Vague identifiers in 1,000 names (see `tests/vocabulary.py`).
LIMIT = 2.0
#: Words of no technical text, with the word to use instead.
BANNED = {
    r"whoever": "the noun",
    r"nobody": "no client, no worker",
    r"anew": "again",
    r"how-manieth": "position",
    r"mends?\b|mended|mending": "fix",
    r"the door\b|at the door": "the API",
    r"goes the way of": "is handled by",
    r"brings? (it|them|its calls?|the calls?) home": "finishes",
    r"stands? still": "stops",
    r"of one's own": "its own",
    r"thereof|wherein|heretofore": "plain words",
}
_BANNED = re.compile(rf"\b(?:{'|'.join(BANNED)})", re.IGNORECASE)
#: A first sentence names the thing; it does not begin with a pronoun or a count.
OPENINGS = re.compile(
    r"^(What|Whoever|Who|Nobody|Anybody|Everybody|How many|So many|At most so|As whoever|That which)\b"
)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings and comments of a file, with their lines."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")


def test_docstrings_and_comments_are_plain() -> None:
    """No banned word and no banned opening."""
    wrong = [
        (name_of(path), line, text[:80])
        for path in FILES
        for line, text in prose(path)
        if OPENINGS.match(text) or _BANNED.search(text)
    ]

    assert wrong == []


def test_a_docstring_names_its_subject_in_one_line() -> None:
    """The first line of a docstring has at most 20 words."""
    wrong = [
        (name_of(path), text.strip().splitlines()[0])
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and (text := ast.get_docstring(node) or "").strip()
        and len(text.strip().splitlines()[0].split()) > 20
    ]

    assert wrong == []


def test_messages_are_plain() -> None:
    """Strings that people read follow the same words."""
    wrong = [
        (name_of(path), node.value)
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and " " in node.value
        and _BANNED.search(node.value)
    ]

    assert wrong == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_are_plain(path: Path) -> None:
    """The documents for people follow the same words."""
    lines = path.read_text(encoding="utf-8").splitlines()
    wrong = [(number, line) for number, line in enumerate(lines, 1) if _BANNED.search(line)]

    assert wrong == []


def test_few_identifiers_are_vague() -> None:
    """A reader can tell from its name what a value is."""
    total, vague = count(PACKAGE)

    assert 1000 * len(vague) / total < LIMIT, [f"{path}:{line} {name}" for path, line, name in vague[:40]]
