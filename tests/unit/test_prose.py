"""Plain technical English: banned identifiers, banned words, and banned openings of docstrings and comments."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vocabulary import count

PACKAGE = Path(__file__).parents[2] / "claude_relay"
FILES = sorted(PACKAGE.rglob("*.py"))
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


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file, parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings and comments of a file, with their lines."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_docstrings_and_comments_are_plain(path: Path) -> None:
    """No banned word and no banned opening."""
    wrong = [(line, text[:80]) for line, text in prose(path) if OPENINGS.match(text) or _BANNED.search(text)]

    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_docstring_names_its_subject_in_one_line(path: Path) -> None:
    """The first line of a docstring has at most 20 words."""
    nodes = [node for node in ast.walk(tree_of(path)) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    texts = [(getattr(node, "name", "module"), ast.get_docstring(node) or "") for node in nodes]
    first = [(name, text.strip().splitlines()[0]) for name, text in texts if text.strip()]

    assert [(name, line) for name, line in first if len(line.split()) > 20] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_messages_are_plain(path: Path) -> None:
    """Strings that people read follow the same words."""
    strings = [
        node.value
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
    ]

    assert [s for s in strings if _BANNED.search(s)] == []


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
