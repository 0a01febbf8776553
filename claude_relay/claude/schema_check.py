"""Check of a caller's schema at submission, under limits of size, depth and patterns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..core.schemas.keywords import DEFINITIONS, IN_PLACE, Steps, draft_number, subschemas, wrong_keyword
from ..core.text.json_values import safe_quote

#: Limits of one schema: a check at the limit takes about 0.1 s.
MAX_BYTES = 256 * 1024
MAX_VALUES = 10_000
#: Levels of schemas, references included. jsonschema reaches Python's recursion limit at about 350.
MAX_LEVELS = 200

#: `$id` and `$anchor` in one schema. The library looks through the whole schema for each.
MAX_NAMES = 50

_NAMES = ("$id", "$anchor", "$dynamicAnchor")
_URL = re.compile(r"https?://[A-Za-z0-9._-]+(?::[0-9]+)?(?:[/?#]\S*)?|urn:\S+")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_Edges = Callable[[Any], Iterable[Any]]
_Place = tuple["_Place", Steps] | None


def size_problem(schema: Mapping[str, Any]) -> str | None:
    """Why a schema is too large to be checked."""
    size = len(json.dumps(schema, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_BYTES:
        return f"it is too large: {size:,} bytes as JSON, the maximum is {MAX_BYTES:,}"
    if (count := count_values(schema)) > MAX_VALUES:
        return f"it is too large: {count:,} values, the maximum is {MAX_VALUES:,}"

    return None


def _count_names(schema: Any, *, draft: int) -> int:
    """The number of `$id` and `$anchor` at all levels."""
    names = (*_NAMES, "id") if draft <= 4 else _NAMES
    count, rest = 0, [schema]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            count += sum(isinstance(value.get(name), str) for name in names)
        rest.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())

    return count


def count_values(schema: Any) -> int:
    """The number of values in a schema, at all levels."""
    count, rest = 0, [schema]
    while rest:
        value = rest.pop()
        count += 1
        if isinstance(value, (dict, list)):
            rest.extend(value.values() if isinstance(value, dict) else value)

    return count


def structure(schema: Mapping[str, Any]) -> tuple[str | None, list[Mapping[str, Any]]]:
    """
    Why this is no JSON Schema that can be followed, and every schema in it.

    A keyword has a value of the wrong type; or a `$ref` leads nowhere, back to itself, or through too many levels.
    """
    draft = schema.get("$schema")
    if draft is not None and not (isinstance(draft, str) and _URL.fullmatch(draft)):
        return "at $.$schema: must be the URL of a draft, such as https://json-schema.org/draft/2020-12/schema", []
    number = draft_number(draft)
    if (problem := _shape_problem(schema, None, draft=number)) is not None:
        return problem, []

    if (names := _count_names(schema, draft=number)) > MAX_NAMES:
        return f"it has {names:,} of $id and $anchor: the maximum is {MAX_NAMES}; use $defs", []

    nodes: list[Mapping[str, Any]] = []
    targets: dict[int, Any] = {}
    for place, node, scope in (walk := _Walk(schema)):
        nodes.append(node)
        for keyword in _REFERENCES:
            if keyword not in node:
                continue
            resolved = _followed(scope, node[keyword])
            if resolved is None or not isinstance(resolved.contents, (Mapping, bool)):
                return f"at {_path(place)}: {_unresolved(node[keyword], schema)}", []
            if walk.add(place, resolved.contents, resolved.resolver):
                problem = _shape_problem(resolved.contents, place, draft=number)
                if problem is not None:
                    return problem, []
            targets[id(node)] = resolved.contents

    return _chain_problem(nodes, targets), nodes


def _chain_problem(nodes: Iterable[Mapping[str, Any]], targets: Mapping[int, Any]) -> str | None:
    def all_parts(node: Any) -> Iterator[Any]:
        yield from (child for steps, child in _children(node) if steps[0] not in DEFINITIONS)
        if id(node) in targets:
            yield targets[id(node)]

    def same_value(node: Any) -> Iterator[Any]:
        yield from (child for steps, child in _children(node) if steps[0] in IN_PLACE)
        if id(node) in targets and "$ref" in node:
            yield targets[id(node)]

    if _levels(nodes, same_value)[1]:
        return "a $ref leads back to itself without going into the value, so that it never ends"
    if _levels(nodes, all_parts)[0] > MAX_LEVELS:
        return f"its references and levels are too deep: the maximum is {MAX_LEVELS}"

    return None


def _shape_problem(schema: Any, at: _Place, *, draft: int) -> str | None:
    rest: list[tuple[_Place, Any]] = [(at, schema)]
    while rest:
        place, node = rest.pop()
        if isinstance(node, bool):
            continue
        if not isinstance(node, Mapping):
            return f'at {_path(place)}: must be a schema such as {{"type": "string"}}'
        if wrong := wrong_keyword(node, draft=draft):
            return f"at {_path(place)}.{wrong[0]}: must be {wrong[1]}"
        rest.extend(((place, steps), child) for steps, child in subschemas(node))

    return None


class _Walk:
    """Every schema that is an object, once, with its place and the resolver of its base URL."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema import validators
        from referencing.jsonschema import DRAFT202012, specification_with

        self._kind: Any = specification_with(schema.get("$schema", ""), default=DRAFT202012)
        registry: Any = validators.SPECIFICATIONS  # type: ignore[attr-defined]
        self._seen: set[int] = set()
        self._rest: list[tuple[_Place, Any, Any]] = []
        resource = self._kind.create_resource(schema)
        base = resource.id() or ""
        registry = registry.with_resource(base, resource)
        if _count_names(schema, draft=draft_number(schema.get("$schema"))):
            registry = registry.crawl()  # looks for all names once; otherwise each reference to one would
        self.add(None, schema, registry.resolver(base_uri=base))

    def add(self, place: _Place, node: Any, scope: Any) -> bool:
        """Visit this schema, too; False if it was visited or cannot have others in it."""
        if not isinstance(node, Mapping) or id(node) in self._seen:
            return False
        self._seen.add(id(node))
        self._rest.append((place, node, scope))

        return True

    def __iter__(self) -> Iterator[tuple[_Place, Any, Any]]:
        while self._rest:
            place, node, scope = self._rest.pop()
            if place is not None and ("$id" in node or "id" in node):
                scope = scope.in_subresource(self._kind.create_resource(node))
            yield place, node, scope
            for steps, child in subschemas(node):
                self.add((place, steps), child, scope)


def _followed(scope: Any, reference: str) -> Any:
    """The place that a reference leads to; None for nowhere."""
    from referencing import exceptions

    try:
        return scope.lookup(reference)
    except (exceptions.Unresolvable, exceptions.NoSuchAnchor, ValueError, LookupError, TypeError, AttributeError):
        return None


def _children(node: Any) -> Iterator[tuple[Steps, Any]]:
    return subschemas(node) if isinstance(node, Mapping) else iter(())


def _levels(nodes: Iterable[Any], edges: _Edges) -> tuple[int, bool]:
    """The longest path along `edges`, and whether there is a circle. Not recursive: a chain may have thousands."""
    depth: dict[int, int] = {}
    open_nodes: set[int] = set()
    circle = False
    for root in nodes:
        if id(root) in depth:
            continue
        stack = [(root, iter(edges(root)), [0])]
        open_nodes.add(id(root))
        while stack:
            node, rest, deepest = stack[-1]
            child = next(rest, None)
            if child is None:
                stack.pop()
                open_nodes.discard(id(node))
                depth[id(node)] = deepest[0] + 1
                if stack:
                    stack[-1][2][0] = max(stack[-1][2][0], depth[id(node)])
            elif id(child) in open_nodes:
                circle = True
            elif id(child) in depth:
                deepest[0] = max(deepest[0], depth[id(child)])
            elif isinstance(child, Mapping):
                open_nodes.add(id(child))
                stack.append((child, iter(edges(child)), [0]))

    return max(depth.values(), default=0), circle


def _unresolved(reference: str, schema: Mapping[str, Any]) -> str:
    quoted = safe_quote(reference)
    if not reference.startswith("#"):
        return f"$ref “{quoted}” names another document, which is not fetched: copy it into $defs of this schema"
    names = [f"#/{key}/{name}" for key in DEFINITIONS for name in schema.get(key, ())]
    existing = f"; there are {', '.join(safe_quote(name) for name in names[:10])}" if names else "; it has no $defs"

    return f"$ref “{quoted}” leads nowhere in this schema{existing}"


def _path(place: _Place) -> str:
    steps: list[str] = []
    while place is not None:
        place, inner = place
        steps[:0] = (f"[{step}]" if isinstance(step, int) else f".{safe_quote(step)}" for step in inner)

    return "$" + "".join(steps if len(steps) <= 12 else (*steps[:11], "…"))
