"""
Count vague identifiers: `python -m tests.vocabulary [DIRECTORY]` prints how many of 1,000 names are vague, and where.

A name is one occurrence of an identifier in the source. Words that say nothing of the thing they name make code hard to
search and to read; the limit is held by `tests/unit/test_prose.py`.
"""

from __future__ import annotations

import io
import keyword
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Identifiers that say nothing of the thing they name.
VAGUE = frozenset(
    "told known found one gone there said heard whole made near look before after held thing things stuff "
    "tell hear knock mend fits shown spelled meant came came_back lost_hold in_hand road door bell".split()
)


def names(source: str) -> Iterator[tuple[str, int]]:
    """Every identifier in `source` with its line, keywords left out."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            yield token.string, token.start[0]


def count(root: Path) -> tuple[int, list[tuple[Path, int, str]]]:
    """The number of names in the Python files below `root`, and the vague ones among them."""
    total, vague = 0, []
    for path in sorted(root.rglob("*.py")):
        for name, line in names(path.read_text(encoding="utf-8")):
            total += 1
            if name.strip("_").lower() in VAGUE:
                vague.append((path, line, name))

    return total, vague


def main() -> None:
    """Print the figure, and the files and words behind it."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "claude_relay"
    total, vague = count(root)
    print(f"{len(vague)} of {total} names are vague: {1000 * len(vague) / max(1, total):.2f} in 1,000")
    for path, number in Counter(path for path, _, _ in vague).most_common(20):
        print(f"{number:5} {path}")
    print(", ".join(f"{word} {number}" for word, number in Counter(name for _, _, name in vague).most_common(20)))


if __name__ == "__main__":
    main()
