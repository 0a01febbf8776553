"""Generation of plausible values for a JSON Schema that `schema.check` has accepted."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from claude_relay.sandbox import regex_faker, value_faker
from claude_relay.sandbox.bounded_regex import matches
from claude_relay.sandbox.number_faker import number
from claude_relay.sandbox.problem import ApiError
from claude_relay.sandbox.schema import resolve, types_of
from claude_relay.sandbox.schema_merge import UnsatisfiableSchema, merge

MOST_NODES = 20_000

_FORMATS: Mapping[str, Callable[[Random], str]] = {
    "date": value_faker.date,
    "date-time": value_faker.moment,
    "time": value_faker.clock,
    "email": value_faker.email,
    "uri": lambda rng: f"https://sandbox.example/{value_faker.digits(rng, 6)}",
    "uri-reference": lambda rng: f"/sandbox/{value_faker.digits(rng, 6)}",
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
    "hostname": lambda rng: "sandbox.example",
    "ipv4": lambda rng: f"192.0.2.{rng.randint(1, 254)}",
    "ipv6": lambda rng: f"2001:db8::{rng.randint(1, 9999)}",
    "duration": lambda rng: f"P{rng.randint(1, 30)}D",
}


def fake_value(schema: Mapping[str, Any], seed: str) -> Any:
    """A value that validates against the schema; raises a 400 where none can be generated."""
    try:
        return _Filler(schema, seed).value(schema, ("",), ())
    except UnsatisfiableSchema as exc:
        raise ApiError(400, f"output_config.format.schema: no value can be generated for it: {exc}") from exc


class _Filler:
    """One walk over a schema; limits the number of values, as a schema may grow without end."""

    def __init__(self, root: Mapping[str, Any], seed: str) -> None:
        self._root = root
        self._seed = seed
        self._count = 0

    def value(self, node: Any, path: tuple[str, ...], refs: tuple[str, ...]) -> Any:
        """A value for the schema at `path`; `refs` are the references followed so far."""
        self._count += 1
        if self._count > MOST_NODES:
            raise ApiError(400, f"output_config.format.schema: it asks for more than {MOST_NODES} values")
        node, refs = self._flatten(node, refs)
        if "const" in node:
            return node["const"]
        if "enum" in node:
            return self._enum(node, path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in node:
                return self._first_branch(node, keyword, path, refs)
        return self._typed(node, path, refs)

    def _flatten(self, node: Any, refs: tuple[str, ...]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """The node with its references followed and its allOf merged in."""
        if node is False:
            raise UnsatisfiableSchema("a field allows nothing")
        if node is True:
            return {}, refs
        while "$ref" in node or "allOf" in node:
            rest = {key: value for key, value in node.items() if key not in ("$ref", "allOf")}
            if "$ref" in node:
                # Follow a circular reference twice; the third time take another branch.
                if refs.count(node["$ref"]) >= 2:
                    raise UnsatisfiableSchema(f"{node['$ref']} contains itself without an end")
                refs = (*refs, node["$ref"])
                target, refs = self._flatten(resolve(self._root, node["$ref"]), refs)
                rest = merge(target, rest)
            for part in node.get("allOf", ()):
                flat, refs = self._flatten(part, refs)
                rest = merge(rest, flat)
            node = rest
        return node, refs

    def _first_branch(self, node: Mapping[str, Any], keyword: str, path: tuple[str, ...], refs: tuple[str, ...]) -> Any:
        """A value of the first satisfiable branch, null last: a value shows more than null."""
        base = {key: value for key, value in node.items() if key != keyword}
        branches = sorted(node[keyword], key=lambda branch: isinstance(branch, dict) and branch.get("type") == "null")
        problem = UnsatisfiableSchema("none of the alternatives is satisfiable")
        for branch in branches:
            try:
                flat, inner = self._flatten(branch, refs)
                return self.value(merge(base, flat), path, inner)
            except UnsatisfiableSchema as exc:
                problem = exc
        raise problem

    def _enum(self, node: Mapping[str, Any], path: tuple[str, ...]) -> Any:
        allowed = types_of({"type": node["type"]}) if "type" in node else ()
        fitting = [item for item in node["enum"] if not allowed or _kind(item) & set(allowed)]
        if not fitting:
            raise UnsatisfiableSchema(f"{path[-1]} has no value of its own type")
        return self._rng(path).choice([item for item in fitting if item is not None] or fitting)

    def _typed(self, node: Mapping[str, Any], path: tuple[str, ...], refs: tuple[str, ...]) -> Any:
        allowed = types_of(node)
        kind = next((name for name in allowed if name != "null"), "null" if allowed else "string")
        if kind == "object":
            return self._object(node, path, refs)
        if kind == "array":
            return self._array(node, path, refs)
        if kind == "string":
            return self._string(node, path)
        if kind in ("integer", "number"):
            return number(
                node, value_faker.number(value_faker.plain(_named(path)), self._rng(path)), integer=kind == "integer"
            )
        return self._rng(path).random() < 0.5 if kind == "boolean" else None

    def _object(self, node: Mapping[str, Any], path: tuple[str, ...], refs: tuple[str, ...]) -> dict[str, Any]:
        required = node.get("required", ())
        result: dict[str, Any] = {}
        for name, child in node.get("properties", {}).items():
            try:
                result[name] = self.value(child, (*path, name), refs)
            except UnsatisfiableSchema:
                if name in required:
                    raise
        missing = [name for name in required if name not in result]
        if missing:
            raise UnsatisfiableSchema(f"{missing[0][:100]} is required and is not among the properties")
        return result

    def _array(self, node: Mapping[str, Any], path: tuple[str, ...], refs: tuple[str, ...]) -> list[Any]:
        least, most = node.get("minItems", 0), node.get("maxItems", math.inf)
        heads, tail = node.get("prefixItems", []), node.get("items", True)
        wanted = int(min(most, max(least, len(heads) if tail is False else 2)))
        if least > most or (tail is False and least > len(heads)):
            raise UnsatisfiableSchema(f"{path[-1]} cannot have so many items")

        result: list[Any] = []
        seen: set[str] = set()
        for index in range(wanted * 8):
            if len(result) == wanted:
                break
            child = heads[len(result)] if len(result) < len(heads) else tail
            try:
                item = self.value(child, (*path, str(index)), refs)
            except UnsatisfiableSchema:
                break
            text = json.dumps(item, sort_keys=True)
            if not node.get("uniqueItems") or text not in seen:
                seen.add(text)
                result.append(item)
        if len(result) < least:
            raise UnsatisfiableSchema(f"{path[-1]} cannot be given {least} items")
        return result

    def _string(self, node: Mapping[str, Any], path: tuple[str, ...]) -> str:
        rng = self._rng(path)
        least, most = node.get("minLength", 0), node.get("maxLength")
        if most is not None and least > most:
            raise UnsatisfiableSchema(f"{path[-1]} is longer than its own limit")
        generate = _FORMATS.get(str(node.get("format")))
        name = value_faker.FieldName(value_faker.plain(_named(path)), rng, f"{self._seed}/{'/'.join(path[:-1])}")
        text = generate(rng) if generate else value_faker.text(name)

        pattern = node.get("pattern")
        if pattern is None:
            return _fit(text, least, most)
        for candidate in (text, text.replace(" ", ""), _fit(text, least, most)):
            if matches(pattern, candidate) and len(candidate) >= least and (most is None or len(candidate) <= most):
                return candidate
        example = regex_faker.example(pattern, rng, least=least, most=most)
        if example is None:
            raise UnsatisfiableSchema(f"{path[-1]} has a pattern for which no string was generated")
        return example

    def _rng(self, path: tuple[str, ...]) -> Random:
        """A generator for each path, so that a new field does not change the others."""
        return value_faker.randomness(self._seed, *path)


def _named(path: tuple[str, ...]) -> str:
    """The field name that hints at a value; for an item of a list, the name of the list."""
    return next((part for part in reversed(path) if not part.isdigit()), "")


def _kind(value: Any) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return {"integer", "number"}
    names = {str: "string", float: "number", list: "array", dict: "object", type(None): "null"}
    return {names[type(value)]}


def _fit(text: str, least: int, most: int | None) -> str:
    """The text, cut or padded to its limits."""
    missing = max(0, least - len(text))
    text += (("0" if text.isdigit() else " sandbox") * missing)[:missing]
    return text if most is None else text[:most]
