"""
The language of checks: one comparison of two sides, or one function that is true or false.

    rule     = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum ]
    sum      = product { ("+" | "-") product }
    product  = factor { ("*" | "/") factor }
    factor   = "-" factor | number | string | "(" sum ")" | function "(" [ sum { "," sum } ] ")" | path
    path     = name { "." name }        name: letters, digits, "_" and "-", or anything in backquotes

A `-` within a name belongs to it, so a subtraction is written with blanks. Parsing is bounded in length and depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import field
from decimal import Decimal

from ..lazy_dataclass import dataclass

MAX_LENGTH, MAX_DEPTH, MAX_OPERATORS, MAX_DIGITS = 1_000, 32, 100, 40

COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
#: The number of arguments of each function, minimum and maximum; those that are true or false are rules of their own.
FUNCTIONS = {
    "sum": (1, 1),
    "min": (1, 1),
    "max": (1, 1),
    "len": (1, 1),
    "abs": (1, 1),
    "round": (1, 2),
    "present": (1, 1),
    "mod10": (1, 1),
    "mod11": (1, 1),
}
PREDICATES = ("present", "mod10", "mod11")
#: Functions of a whole list.
OF_LISTS = ("sum", "min", "max", "len")

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    |(?P<string>"[^"]*"|'[^']*')
    |(?P<name>[^\W\d][\w-]*(?<!-)|`[^`]+`)
    |(?P<operator>==|!=|<=|>=|[-+*/().,<>]))""",
    re.VERBOSE,
)


class RuleError(ValueError):
    """A rule that cannot be used; `position` counts characters from 1."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True)
class Number:
    """A number as written."""

    value: Decimal
    position: int


@dataclass(frozen=True)
class String:
    """A string in quotes."""

    value: str
    position: int


@dataclass(frozen=True)
class Path:
    """A value of the answer; a list on the way stands for all its items."""

    names: tuple[str, ...]
    position: int


@dataclass(frozen=True)
class Arithmetic:
    """`+`, `-`, `*` or `/` of two operands."""

    operator: str
    left: Node
    right: Node
    position: int


@dataclass(frozen=True)
class Function:
    """A function with its arguments."""

    name: str
    arguments: tuple[Node, ...]
    position: int


@dataclass(frozen=True)
class Comparison:
    """Two sides and the operator between them."""

    operator: str
    left: Node
    right: Node
    position: int


Node = Number | String | Path | Arithmetic | Function
Rule = Comparison | Function


@dataclass(frozen=True)
class _Token:
    kind: str  # number, string, name, operator, end
    text: str = field(repr=False)
    position: int


def parse(text: str) -> Rule:
    """Parse a rule; raises `RuleError`."""
    if len(text) > MAX_LENGTH:
        raise RuleError(f"has {len(text):,} characters, the maximum is {MAX_LENGTH:,}", MAX_LENGTH + 1)

    return _Parser(text).rule()


def paths(node: Node | Rule) -> Iterator[Path]:
    """Every path of a rule, in the order of writing."""
    if isinstance(node, Path):
        yield node
    elif isinstance(node, Function):
        for argument in node.arguments:
            yield from paths(argument)
    elif isinstance(node, Arithmetic | Comparison):
        yield from paths(node.left)
        yield from paths(node.right)


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = next(self._tokens)
        self._depth = self._operators = 0

    def rule(self) -> Rule:
        left = self._sum()
        operator = self._next
        if operator.text in COMPARISONS:
            self._advance()
            right = self._sum()
            self._end()
            for side in (left, right):
                if isinstance(side, Function) and side.name in PREDICATES:
                    raise RuleError(f"{side.name}() is true or false: it cannot be compared", side.position)
            return Comparison(operator.text, left, right, operator.position)
        self._end()
        if isinstance(left, Function) and left.name in PREDICATES:
            return left
        raise RuleError(
            f"is no rule: it needs a comparison ({', '.join(COMPARISONS)}) or one of {_listed(PREDICATES)}",
            operator.position,
        )

    def _sum(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise RuleError(f"has more than {MAX_DEPTH} levels of brackets", self._next.position)
        node = self._product()
        while self._next.text in ("+", "-") and self._next.kind == "operator":
            operator = self._advance()
            node = self._arithmetic(operator, node, self._product())
        self._depth -= 1

        return node

    def _product(self) -> Node:
        node = self._factor()
        while self._next.text in ("*", "/") and self._next.kind == "operator":
            operator = self._advance()
            node = self._arithmetic(operator, node, self._factor())

        return node

    def _arithmetic(self, operator: _Token, left: Node, right: Node) -> Node:
        self._operators += 1
        if self._operators > MAX_OPERATORS:
            raise RuleError(f"has more than {MAX_OPERATORS} operators", operator.position)
        for side in (left, right):
            if isinstance(side, String) or (isinstance(side, Function) and side.name in PREDICATES):
                raise RuleError(f"“{operator.text}” needs numbers on both sides", side.position)
        if operator.text == "/" and isinstance(right, Number) and not right.value:
            raise RuleError("divides by zero", right.position)

        return Arithmetic(operator.text, left, right, operator.position)

    def _factor(self) -> Node:
        signs = 0
        while self._next.text == "-" and self._next.kind == "operator":
            minus = self._advance()
            signs += 1
        node = self._operand()
        if signs % 2:
            node = self._arithmetic(minus, Number(Decimal(0), minus.position), node)

        return node

    def _operand(self) -> Node:
        token = self._advance()
        if token.kind == "number":
            return Number(_decimal(token), token.position)
        if token.kind == "string":
            return String(token.text[1:-1], token.position)
        if token.kind == "name":
            return self._function(token) if self._next.text == "(" else self._path(token)
        if token.text == "(":
            node = self._sum()
            self._expect(")")
            return node
        text = "ends too early" if token.kind == "end" else f"has “{token.text}” where a value is expected"
        raise RuleError(text, token.position)

    def _path(self, first: _Token) -> Path:
        names = [first.text.strip("`")]
        while self._next.text == "." and self._next.kind == "operator":
            self._advance()
            if self._next.kind != "name":
                raise RuleError("has “.” without the name of a field after it", self._next.position)
            names.append(self._advance().text.strip("`"))

        return Path(tuple(names), first.position)

    def _function(self, name: _Token) -> Function:
        if name.text not in FUNCTIONS:
            raise RuleError(f"calls {name.text}(), which is not one of {_listed(FUNCTIONS)}", name.position)
        self._expect("(")
        arguments: list[Node] = []
        while self._next.text != ")" or arguments:
            arguments.append(self._sum())
            if self._next.text != ",":
                break
            self._advance()
        self._expect(")")
        low, high = FUNCTIONS[name.text]
        if not low <= len(arguments) <= high:
            count = str(low) if low == high else f"{low} or {high}"
            raise RuleError(f"{name.text}() takes {count} argument{'s' * (high > 1)}", name.position)
        if name.text in PREDICATES and not isinstance(arguments[0], Path):
            raise RuleError(f"{name.text}() takes a field of the answer", name.position)
        if name.text in OF_LISTS and not any(paths(arguments[0])):
            raise RuleError(f"{name.text}() takes a list of the answer", name.position)

        return Function(name.text, tuple(arguments), name.position)

    def _advance(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)

        return token

    def _expect(self, text: str) -> None:
        if self._next.text != text or self._next.kind != "operator":
            raise RuleError(f"needs “{text}”", self._next.position)
        self._advance()

    def _end(self) -> None:
        if self._next.kind != "end":
            raise RuleError(f"has “{self._next.text}” after its end", self._next.position)


def _tokens(text: str) -> Iterator[_Token]:
    end = len(text.rstrip())
    position = 0
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise RuleError(f"has “{text[start]}”, which has no meaning here", start + 1)
        kind = match.lastgroup
        yield _Token(kind, match.group(kind), match.start(kind) + 1)
        position = match.end()
    yield _Token("end", "", end + 1)


def _decimal(token: _Token) -> Decimal:
    value = Decimal(token.text)
    if abs(value.adjusted()) > MAX_DIGITS or len(value.as_tuple().digits) > MAX_DIGITS:
        raise RuleError(f"has a number out of range: at most {MAX_DIGITS} digits", token.position)

    return value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name}()" for name in names)
