"""Whether a field that nobody knows is a slip of one that everybody does."""

from __future__ import annotations

from collections.abc import Sequence


def suggest(name: str, known: Sequence[str], *, slips: bool = True) -> str | None:
    """
    The known name that `name` was probably meant to be: `webhookURL`, `webhook_url` and `wehbookUrl` are `webhookUrl`.

    Without `slips` only case, underscores and the like may differ.
    """
    if len(name) > 40:
        return None

    plain = _plain(name)
    same = next((each for each in known if _plain(each) == plain), None)
    if same or not slips:
        return same

    near = [(distance(plain, _plain(each)), each) for each in known if abs(len(plain) - len(_plain(each))) <= 2]
    best, close = min(near, default=(99, ""))

    return close if best <= _allowed(plain, close) else None


def distance(one: str, other: str) -> int:
    """
    How many letters to add, drop, change or swap with their neighbour between the two (optimal string alignment).
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        above, row, before_last = row, [i], before
        for j, right in enumerate(other, 1):
            cost = min(row[j - 1] + 1, above[j] + 1, above[j - 1] + (left != right))
            if i > 1 and j > 1 and left == other[j - 2] and one[i - 2] == right:
                cost = min(cost, before_last[j - 2] + 1)
            row.append(cost)
        before = above

    return row[-1]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "_-. ")


def _allowed(name: str, known: str) -> int:
    """Short words have many neighbours that mean something else: `note` and `code` are not `mode`."""
    if len(name) <= 4:
        return 1 if name[:1] == _plain(known)[:1] else 0

    return 1 if len(name) <= 7 else 2
