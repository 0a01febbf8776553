"""Suggestions for misspelt names: fields of a request, and settings."""

from __future__ import annotations

from collections.abc import Collection

#: Similarity from which a name counts as misspelt: `code` and `node` come to 0.75 with `mode`, and are other words.
_CUTOFF = 0.8
_LONGEST = 64


def suggest(name: str, names: Collection[str], *, slips: bool = True) -> str | None:
    """
    The entry of `names` that `name` probably means: `webhookUrl` for `webhookURL`, `webhook_url` or `wehbookUrl`.

    Without `slips` only case, underscores, dashes, dots and spaces may differ.
    """
    if not name or len(name) > _LONGEST:
        return None

    plain = {_plain(each): each for each in names}
    match = plain.get(_plain(name))
    if match or not slips:
        return match

    # Imported here: only misspelt names need it.
    from difflib import get_close_matches

    return next((plain[close] for close in get_close_matches(_plain(name), plain, 1, _CUTOFF)), None)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "_-. ")
