"""Control digits of reference and organisation numbers."""

from __future__ import annotations

import itertools
import re

_SEPARATORS = re.compile(r"[\s.\-\u00a0\u202f]")
#: A Norwegian VAT number is the organisation number between these.
_VAT = re.compile(r"(?:NO)?([0-9]{9})(?:MVA)?", re.IGNORECASE)


def mod10(text: str) -> bool:
    """Whether the last digit is the Luhn digit of the others (ISO/IEC 7812-1 Annex B; KID, cards)."""
    digits = _SEPARATORS.sub("", text)
    if not re.fullmatch(r"[0-9]{2,60}", digits, re.ASCII):
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])

    return (sum(doubled) + sum(int(digit) for digit in digits[::-2])) % 10 == 0


def mod11(text: str) -> bool:
    """
    Whether the last digit is right by modulus 11 with weights 2 to 7 from the right.

    Norwegian organisation numbers, bank accounts and KID; a `-` at the end of a KID stands for 10. `NO` before and
    `MVA` after an organisation number are ignored.
    """
    stripped = text.strip()
    last = "-" if stripped.endswith("-") else ""
    digits = _SEPARATORS.sub("", stripped)
    if match := _VAT.fullmatch(digits):
        digits = match.group(1)
    digits += last
    if not re.fullmatch(r"[0-9]{1,60}[0-9-]", digits, re.ASCII):
        return False
    weighted = sum(
        int(digit) * weight for digit, weight in zip(digits[-2::-1], itertools.cycle(range(2, 8)), strict=False)
    )
    control = 10 if digits[-1] == "-" else int(digits[-1])

    return (weighted + control) % 11 == 0
