"""Group names: one rule for the body, the HTTP API, the command line and the use cases."""

from __future__ import annotations

from ...errors import InvalidRequest
from ..text.ids import GROUP

#: The rule in words, after "must be".
GROUP_RULE = "1 to 64 of A-Z a-z 0-9 . _ -"


def is_group_name(name: str) -> bool:
    """Whether a job can have that group."""
    return GROUP.fullmatch(name) is not None


def check_group_name(name: str, *, field: str = "group") -> str:
    """Return the name; raises `InvalidRequest` for one that no job can have."""
    if not is_group_name(name):
        raise InvalidRequest.at(field, f"must be {GROUP_RULE}")

    return name
