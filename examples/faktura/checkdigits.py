"""
Check digits of Norwegian invoice numbers.

Every number that a payment depends on has one, so that a misread digit is detected before any money moves.
"""

from itertools import cycle


def mod10(digits: str) -> str:
    """The Luhn digit: every second digit from the right is doubled."""
    doubled = (int(digit) * weight for digit, weight in zip(reversed(digits), cycle((2, 1)), strict=False))
    return str(-sum(sum(divmod(product, 10)) for product in doubled) % 10)


def mod11(digits: str) -> str:
    """The weighted digit with 2 to 7 from the right; a two-digit remainder is written as `-`."""
    rest = -sum(int(digit) * weight for digit, weight in zip(reversed(digits), cycle(range(2, 8)), strict=False)) % 11
    return "-" if rest == 10 else str(rest)


def iban(country: str, bban: str) -> str:
    """The IBAN of an account number; its two check digits make it congruent to 1 modulo 97."""
    check = 98 - _mod97(f"{bban}{country}00")
    return f"{country}{check:02}{bban}"


def is_orgnr(text: str) -> bool:
    """A Norwegian organisation number: nine digits, the last by mod11."""
    return _plain(text, 9) and mod11(text[:-1]) == text[-1]


def is_account(text: str) -> bool:
    """A Norwegian bank account: eleven digits, the last by mod11."""
    return _plain(text, 11) and mod11(text[:-1]) == text[-1]


def is_kid(text: str) -> bool:
    """A payment reference (KID) of 2 to 25 characters, checked by mod10 or mod11 as agreed with the bank."""
    body, last = text[:-1], text[-1:]
    return 2 <= len(text) <= 25 and _plain(body, len(body)) and last in (mod10(body), mod11(body))


def is_iban(text: str) -> bool:
    """An international account number without its spaces."""
    return (
        15 <= len(text) <= 34
        and text.isascii()
        and text.isalnum()
        and text.isupper()
        and _mod97(text[4:] + text[:4]) == 1
    )


def _plain(text: str, length: int) -> bool:
    return len(text) == length and text.isascii() and text.isdecimal()


def _mod97(text: str) -> int:
    """The remainder of a number in which letters stand for 10 (A) to 35 (Z)."""
    return int("".join(str(int(char, 36)) for char in text)) % 97
