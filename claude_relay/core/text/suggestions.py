"""Suggestions for misspelt names: fields of a request, and settings."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping

#: Similarity from which a name counts as misspelt: `code` and `node` come to 0.75 with `mode`, and are other words.
_CUTOFF = 0.8
_LONGEST = 64
_IGNORED = dict.fromkeys(map(ord, "_-. "))


def suggest(name: str, names: Collection[str], *, slips: bool = True) -> str | None:
    """
    The entry of `names` that `name` probably means: `webhookUrl` for `webhookURL`, `webhook_url` or `wehbookUrl`.

    Without `slips` only case, underscores, dashes, dots and spaces may differ.
    """
    if not name or len(name) > _LONGEST:
        return None

    if isinstance(names, tuple):  # fields of ours, and not those of a caller's schema
        return _suggest_again(_plain(name), names, slips)

    return _suggest(_plain(name), {_plain(each): each for each in names}, slips)


@functools.lru_cache(maxsize=1_024)  # the items of a bulk repeat their mistake a thousand times
def _suggest_again(name: str, names: tuple[str, ...], slips: bool) -> str | None:
    return _suggest(name, _plain_fields(names), slips)


@functools.lru_cache(maxsize=64)
def _plain_fields(names: tuple[str, ...]) -> dict[str, str]:
    return {_plain(each): each for each in names}


def _suggest(name: str, plain: Mapping[str, str], slips: bool) -> str | None:
    match = plain.get(name)
    if match or not slips:
        return match

    # Imported here: only misspelt names need it.
    from difflib import get_close_matches

    return next((plain[close] for close in get_close_matches(name, plain, 1, _CUTOFF)), None)


def _plain(name: str) -> str:
    return name.lower().translate(_IGNORED)
