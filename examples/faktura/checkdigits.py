"""
The check digits of a Norwegian invoice.

Every number a payment hangs on carries one, so that a misread digit is noticed before the money moves.
"""

from itertools import cycle


def mod10(digits: str) -> str:
    """The Luhn digit: every second figure from the right is doubled."""
    doubled = (int(digit) * weight for digit, weight in zip(reversed(digits), cycle((2, 1)), strict=False))
    return str(-sum(sum(divmod(product, 10)) for product in doubled) % 10)


def mod11(digits: str) -> str:
    """The weighted digit with 2 to 7 from the right; a remainder that needs two figures is written as `-`."""
    rest = -sum(int(digit) * weight for digit, weight in zip(reversed(digits), cycle(range(2, 8)), strict=False)) % 11
    return "-" if rest == 10 else str(rest)


def iban(country: str, bban: str) -> str:
    """The international form of an account number; its two check figures make the whole come to 1 modulo 97."""
    check = 98 - _mod97(f"{bban}{country}00")
    return f"{country}{check:02}{bban}"


def is_orgnr(text: str) -> bool:
    """A Norwegian organisation number: nine figures, the last by mod11."""
    return _plain(text, 9) and mod11(text[:-1]) == text[-1]


def is_account(text: str) -> bool:
    """A Norwegian bank account: eleven figures, the last by mod11."""
    return _plain(text, 11) and mod11(text[:-1]) == text[-1]


def is_kid(text: str) -> bool:
    """A payment reference of 2 to 25 places; the bank agreement says whether mod10 or mod11 guards it."""
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


def _mod97(turned: str) -> int:
    """The remainder of a number whose letters count from A = 10."""
    return int("".join(str(int(char, 36)) for char in turned)) % 97
