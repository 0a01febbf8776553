"""Whether a schema rules out a path of a check: a misspelt name is refused before anything is paid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..text.suggestions import suggest
from .expression import OF_LISTS, Function, Path, Rule, RuleError, paths

_MAX_NODES, _MAX_LEVELS = 1_000, 8
#: A node of which nothing is known.
_UNRESOLVED: Mapping[str, Any] = {"unresolved": True}
_CHOICES = ("anyOf", "oneOf", "allOf")
#: With these a schema says less of its properties than `properties` shows.
_OPEN = (
    "patternProperties",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
    "not",
    "$dynamicRef",
)


def check_paths(rule: Rule, schema: Mapping[str, Any]) -> None:
    """
    Raise `RuleError` for a path that the schema rules out.

    No answer can have it, or it is no list where a function needs one.
    """
    for path in paths(rule):
        nodes: list[Any] = [schema]
        for depth, name in enumerate(path.names):
            nodes = [item for node in nodes for item in _items(node, schema)]
            choices = [_property(node, name) for node in nodes]
            if None in choices or not choices:
                break  # something that the schema leaves open
            nodes = [node for schemas in choices if schemas for node in schemas]
            if not nodes:
                raise RuleError(_missing(path, depth, _names_beside(schema, path, depth)), path.position)
    for function in _functions(rule):
        argument = function.arguments[0]
        if isinstance(argument, Path) and function.name in OF_LISTS and _never_a_list(argument, schema, function.name):
            name = ".".join(argument.names)
            raise RuleError(f"{function.name}() needs a list, and {name} is none in outputSchema", argument.position)


def _names_beside(schema: Mapping[str, Any], path: Path, depth: int) -> tuple[str, ...]:
    """The names that `outputSchema` has beside a missing one."""
    nodes: list[Any] = [schema]
    for name in path.names[:depth]:
        nodes = [item for node in nodes for item in _items(node, schema)]
        nodes = [node for schemas in (_property(node, name) for node in nodes) for node in schemas or ()]
    variants = [item for node in nodes for item in _items(node, schema)]

    return tuple(dict.fromkeys(name for node in variants for name in node.get("properties", ())))


def _items(node: Any, root: Mapping[str, Any], levels: int = _MAX_LEVELS) -> list[Mapping[str, Any]]:
    """The variants of a node, and in place of an array those of its items."""
    if not levels:
        return [_UNRESOLVED]
    result: list[Mapping[str, Any]] = []
    for variant in _variants(node, root):
        items = variant.get("items")
        if isinstance(items, Mapping) and "properties" not in variant and len(result) < _MAX_NODES:
            result.extend(_items(items, root, levels - 1))
        else:
            result.append(variant)

    return result


def _variants(node: Any, root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The node without references and choices, each alternative of it."""
    pending, seen = [node], 0
    while pending and seen < _MAX_NODES:
        seen += 1
        current = pending.pop()
        if not isinstance(current, Mapping):
            yield _UNRESOLVED if current is not False else {}
            continue
        reference = current.get("$ref")
        parts = [part for key in _CHOICES for part in _list(current.get(key))]
        if isinstance(reference, str):
            parts.append(_target(reference, root))
        if parts:
            pending.extend(parts)
        if not parts or "properties" in current or "items" in current:
            yield current


def _property(node: Mapping[str, Any], name: str) -> list[Any] | None:
    """The schemas of a property; an empty list where it is ruled out, None where the node leaves it open."""
    properties = node.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return [properties[name]]
    if "unresolved" in node or any(key in node for key in _OPEN):
        return None
    additional = node.get("additionalProperties", False if properties else None)
    if isinstance(additional, Mapping):
        return [additional]
    if additional is True:
        return None
    types = node.get("type")
    scalar = types is not None and not {"object", "array"} & set([types] if isinstance(types, str) else _list(types))

    return [] if additional is False or scalar or "enum" in node or "const" in node else None


def _never_a_list(path: Path, schema: Mapping[str, Any], function: str) -> bool:
    nodes: list[Any] = [schema]
    for name in path.names:
        flat = []
        for node in nodes:
            for variant in _variants(node, schema):
                if "items" in variant or "unresolved" in variant or "array" in _list_of_types(variant):
                    return False
                flat.append(variant)
        choices = [_property(node, name) for node in flat]
        if None in choices:
            return False
        nodes = [node for schemas in choices if schemas for node in schemas]
    allowed = {"array"} | ({"string"} if function == "len" else set())
    types = [set(_list_of_types(variant)) for node in nodes for variant in _variants(node, schema)]

    return bool(types) and all(kinds and not kinds & allowed for kinds in types)


def _list_of_types(node: Mapping[str, Any]) -> list[Any]:
    types = node.get("type")

    return [types] if isinstance(types, str) else _list(types)


def _functions(rule: Any) -> Iterator[Function]:
    if isinstance(rule, Function):
        yield rule
        for argument in rule.arguments:
            yield from _functions(argument)
    elif hasattr(rule, "left"):
        yield from _functions(rule.left)
        yield from _functions(rule.right)


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    """The schema that a local reference names; None where it cannot be resolved."""
    if not reference.startswith("#/"):
        return root if reference == "#" else None
    node: Any = root
    for part in reference[2:].split("/"):
        if not isinstance(node, Mapping):
            return None
        node = node.get(part.replace("~1", "/").replace("~0", "~"))

    return node


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _missing(path: Path, depth: int, names: tuple[str, ...]) -> str:
    full, name = ".".join(path.names), path.names[depth]
    close = suggest(name, list(names))
    hint = f"; did you mean {close}?" if close else ""

    return f"has the path {full}, but outputSchema has no {name} there{hint}"
