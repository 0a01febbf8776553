"""Templates: submit bodies with placeholders, and the bodies that variables make of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from typing import Any

from ..errors import InvalidRequest, Problem
from .lazy_dataclass import dataclass
from .text.json_values import json_path, safe_quote
from .text.written_numbers import encode_as_written

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 characters of A-Z a-z 0-9 . _ - and begin with a letter or digit"
REFERENCE_RULE = "the name of a template, such as invoice, or of one version of it, such as invoice@3"
MAX_PLACEHOLDERS = 1_000
#: Bytes of a template, and of one variable, as JSON.
MAX_BYTES = 2**20
MAX_NAME = 100
#: Shown for the value of a webhook header.
HIDDEN = "(hidden)"
NO_PLACEHOLDERS = (
    "has no placeholder, so the variables would change nothing. In Make and n8n {{…}} is the tool's own syntax, and is"
    " replaced before it arrives here: save the template with the command line, the dashboard or curl, and send its"
    " name"
)

_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
# A default ends at the first `}}`; `{{` in it is refused, which also keeps the search linear.
_TOKEN = re.compile(r"\{\{\{\{|\{\{([^{}|" + _BREAKS + r"]+)(?:\|((?:(?!\}\}|\{\{).)*))?\}\}", re.DOTALL)
_REFERENCE = re.compile(rf"({NAME.pattern})(?:@([1-9][0-9]{{0,8}}))?")


@dataclass(frozen=True, kw_only=True)
class Template:
    """One version of a template. `shared`: every key may use it."""

    owner: str
    name: str
    version: int
    body: dict[str, Any] = field(repr=False)
    description: str | None = None
    shared: bool = False
    created_at: float = 0.0
    deleted: bool = False

    @property
    def reference(self) -> str:
        """The version by name, as jobs record it."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Placeholder:
    """A place for a variable. `default` is used where the variable is missing; None: it must be given."""

    name: str
    default: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class _Text:
    """A string with placeholders."""

    parts: tuple[str | Placeholder, ...] = field(repr=False)


@dataclass(frozen=True)
class Variable:
    """The value of a variable, its text inside a longer string, and the bytes of that text."""

    value: Any = field(repr=False)
    text: str = field(repr=False)
    size: int


class Variables(dict[str, Variable]):
    """Variables by their names in NFC; null ones are left out."""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A body with its placeholders replaced, and the placeholders that had neither a variable nor a default."""

    body: dict[str, Any] = field(repr=False)
    missing: tuple[str, ...]


class Compiled:
    """A body whose placeholders are located, to be filled many times."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        """Raises `InvalidRequest` for malformed placeholders, or too many of them."""
        self._problems: list[Problem] = []
        self._names: dict[str, None] = {}
        self.paths: list[str] = []  # of the strings with placeholders
        self._count = 0
        self._root = {key: self._compile(value, [key]) for key, value in body.items()}
        if self._count > MAX_PLACEHOLDERS:
            text = f"has {self._count:,} placeholders, the maximum is {MAX_PLACEHOLDERS:,}"
            self._problems = [Problem(field="", problem=text)]
        if self._problems:
            raise InvalidRequest(problems=self._problems[:100])

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names, in the order in which they appear."""
        return tuple(self._names)

    def fill(self, variables: Variables, *, limit: int, skip: Collection[str] = ()) -> Filled:
        """
        The body with those variables, without the fields in `skip`.

        Raises `InvalidRequest` once the text of all strings has more than `limit` bytes.
        """
        filling = _Filling(variables, limit)
        body = {key: filling.value(node) for key, node in self._root.items() if key not in skip}

        return Filled(body=body, missing=tuple(filling.missing))

    def _compile(self, value: Any, path: list[str | int]) -> Any:
        if isinstance(value, str):
            return self._compile_text(value, path)
        if isinstance(value, dict):
            compiled = {key: self._compile(child, [*path, key]) for key, child in value.items()}
            return value if all(compiled[key] is child for key, child in value.items()) else _Object(compiled)
        if isinstance(value, list):
            items = [self._compile(child, [*path, index]) for index, child in enumerate(value)]
            same = all(compiled is child for compiled, child in zip(items, value, strict=True))
            return value if same else _Array(items)

        return value

    def _compile_text(self, text: str, path: list[str | int]) -> Any:
        if "{{" not in text:
            return text
        parts: list[str | Placeholder] = []
        end = 0
        for match in _TOKEN.finditer(text):
            parts.append(self._literal(text[end : match.start()], end, path))
            end = match.end()
            parts.append("{{" if match[1] is None else self._placeholder(match, path))
        parts.append(self._literal(text[end:], end, path))
        if not any(isinstance(part, Placeholder) for part in parts):
            return "".join(map(str, parts))
        self.paths.append(json_path(path))

        return _Text(tuple(part for part in parts if part != ""))

    def _literal(self, text: str, start: int, path: list[str | int]) -> str:
        if (position := text.find("{{")) >= 0:
            excerpt = safe_quote(text[position : position + 20])
            self._problem(
                path,
                f"has no valid placeholder at character {start + position + 1} (“{excerpt}”): write {{{{name}}}} or "
                "{{name|default}} in one line, and {{{{ for a literal {{",
            )

        return text

    def _placeholder(self, match: re.Match[str], path: list[str | int]) -> Placeholder:
        name = normal_name(match[1])
        self._count += 1
        if not 1 <= len(name) <= MAX_NAME:
            self._problem(path, f"has a placeholder with a name of {len(name)} characters: 1 to {MAX_NAME} are allowed")
        self._names.setdefault(name)

        return Placeholder(name, match[2])

    def _problem(self, path: list[str | int], text: str) -> None:
        self._problems.append(Problem(field=json_path(path), problem=text))


class _Object(dict[str, Any]):
    """An object with placeholders below it; one without any is shared by all filled bodies."""


class _Array(list[Any]):
    """A list with placeholders below it."""


class _Filling:
    def __init__(self, variables: Variables, limit: int) -> None:
        self._variables, self._left, self._limit = variables, limit, limit
        self.missing: dict[str, None] = {}

    def value(self, node: Any) -> Any:
        if isinstance(node, _Text):
            return self._text(node)
        if isinstance(node, _Object):
            return {key: self.value(child) for key, child in node.items()}
        if isinstance(node, _Array):
            return [self.value(child) for child in node]

        return node

    def _text(self, node: _Text) -> Any:
        if len(node.parts) == 1 and isinstance(part := node.parts[0], Placeholder):
            variable = self._variables.get(part.name)
            if variable is None:
                return self._default(part)
            self._take(variable.size)
            return variable.value

        return "".join(self._part(part) for part in node.parts)

    def _part(self, part: str | Placeholder) -> str:
        if isinstance(part, str):
            self._take(len(part))
            return part
        variable = self._variables.get(part.name)
        if variable is None:
            return self._default(part)
        self._take(variable.size)

        return variable.text

    def _default(self, part: Placeholder) -> str:
        if part.default is None:
            self.missing.setdefault(part.name)

        return part.default or ""

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise InvalidRequest.at("variables", f"make a body of more than {self._limit:,} bytes")


def _quote(name: str) -> str:
    return safe_quote(name, limit=MAX_NAME)


def normal_name(text: str) -> str:
    """The name of a variable as it is compared: trimmed, in NFC."""
    return unicodedata.normalize("NFC", text.strip())


def read_variables(values: Mapping[str, Any], *, at: str) -> tuple[Variables, list[Problem]]:
    """The variables of an object, with the problems of those that are too large or equal to another one."""
    variables, problems = Variables(), []
    names: set[str] = set()
    for key, value in values.items():
        name = normal_name(key)
        path = f"{at}.{_quote(key)}"
        if name in names:
            problems.append(Problem(field=path, problem="is given twice: names are compared without outer spaces"))
            continue
        names.add(name)
        if value is None:
            continue
        text = value if isinstance(value, str) else encode_as_written(value)
        size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        if size > MAX_BYTES:
            problems.append(
                Problem(field=path, problem=f"is too large: {size:,} bytes, the maximum is {MAX_BYTES:,} a variable")
            )
            continue
        variables[name] = Variable(value, text, size)

    return variables, problems


def missing_problems(
    names: Collection[str], *, at: str, reference: str, columns: Collection[str] = ()
) -> Iterator[Problem]:
    """A problem for each placeholder without a variable; `columns` are those of its row, which it may be one of."""
    for name in names:
        text = f"is missing: the template {reference} needs it" if reference else "is missing: the template needs it"
        if columns and name not in columns:
            text += f", and the row's columns are {_listed(columns)}"
        yield Problem(field=f"{at}.{_quote(name)}", problem=text)


def with_hidden_headers(body: dict[str, Any]) -> dict[str, Any]:
    """The body as it is shown: without the values of its webhook headers."""
    headers = body.get("webhookHeaders")

    return {**body, "webhookHeaders": dict.fromkeys(headers, HIDDEN)} if isinstance(headers, dict) else body


def with_kept_headers(body: dict[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """A body that is saved as it was shown: hidden headers keep their values. Raises `InvalidRequest` without one."""
    headers, stored = body.get("webhookHeaders"), earlier.get("webhookHeaders")
    if not isinstance(headers, dict) or HIDDEN not in headers.values():
        return body
    kept = stored if isinstance(stored, dict) else {}
    if lost := [name for name, value in headers.items() if value == HIDDEN and name not in kept]:
        text = f"is “{HIDDEN}”, which stands for a stored value, and none is stored: write the value itself"
        raise InvalidRequest.at(f"body.webhookHeaders.{_quote(lost[0])}", text)

    return {
        **body,
        "webhookHeaders": {name: kept[name] if value == HIDDEN else value for name, value in headers.items()},
    }


def unused_warning(given: Collection[str], placeholders: Collection[str]) -> str | None:
    """The warning about variables that no placeholder names."""
    unused = sorted(set(given) - set(placeholders))
    if not unused:
        return None

    return f"the template has no placeholder for: {_listed(unused)}"


def _listed(names: Collection[str]) -> str:
    """The first names."""
    return ", ".join(map(_quote, list(names)[:10])) + (" …" if len(names) > 10 else "")


def parse_reference(text: str) -> tuple[str, int | None] | None:
    """`invoice@3` as name and version, `invoice` with None for the newest; None for anything else."""
    match = _REFERENCE.fullmatch(text)

    return (match[1], int(match[2]) if match[2] else None) if match else None
