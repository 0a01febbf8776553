"""
Rules for Make.com blueprints: those that Make enforces on import, and those that it fails on later.

They come from Make's own validator (https://github.com/integromat/make-blueprints, scripts/validate.mjs) and its guide
(https://www.make.com/blueprint.md), with the common errors after an import. They are independent of the product's code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

#: Existing modules with their versions: another name is "Module Not Found" on import.
MODULES = {
    "gateway:CustomWebHook": 1,
    "gateway:WebhookRespond": 1,
    "http:MakeRequest": 4,
    "http:ActionSendData": 3,
    "json:TransformToJSON": 1,
    "json:ParseJSON": 1,
    "builtin:BasicRouter": 1,
    "builtin:BasicFeeder": 1,
    "builtin:Break": 1,
    "builtin:Ignore": 1,
    "builtin:Resume": 1,
    "builtin:Commit": 1,
    "builtin:Rollback": 1,
    "util:SetVariable2": 1,
    "util:FunctionSleep": 1,
    "google-drive:watchFilesInAFolder": 4,
    "google-drive:getAFile": 4,
}
_TRIGGERS = {"gateway:CustomWebHook", "google-drive:watchFilesInAFolder"}
_DIRECTIVES = {f"builtin:{name}" for name in ("Break", "Ignore", "Resume", "Commit", "Rollback")}
_BOUND = (
    "__IMTCONN__ __IMTKEY__ hook datastore agent apiKeyKeychain basicAuthKeychain oAuthAccount proxyKeychain"
    " bodyDataStructure maxResults"
).split()
_EXPORTED = ("restore", "expect", "interface", "parameters", "advanced")
_OPERATORS = re.compile(r"exist|notexist|(text|number|boolean|date|time|array):[a-z]+(:ci)?")
_REFERENCE = re.compile(r"\{\{(.*?)\}\}", re.S)
_URL = re.compile(r"https://[a-z0-9.-]+(:\d+)?(/|$)")
_MODULE = re.compile(r"(?<![\w.])`?(\d+)`?\.")
_SECRETS = {
    "an e-mail address": re.compile(r"[\w.+-]+@(?!example\.com)[\w-]+\.[a-z]{2,}", re.I),
    "an address of Make's own": re.compile(r"we\.make\.com|make\.atlassian\.net|hook\.\w+\.make\.com/\w"),
    "something like a key": re.compile(r"(sk-ant-|crk_)\w+|(?:api[_-]?key|bearer|token)[\"\s:=]+[\w-]{20,}", re.I),
}


def faults(blueprint: Mapping[str, Any]) -> list[str]:
    """All faults, a sentence each."""
    return list(_faults(blueprint))


def _faults(blueprint: Mapping[str, Any]) -> Iterator[str]:
    for key in blueprint:
        if key not in ("name", "description", "flow", "metadata"):
            yield f"unexpected key {key!r} at the top"
    if not isinstance(blueprint.get("name"), str) or not 1 <= len(blueprint["name"]) <= 120:
        yield "name must have 1 to 120 characters"
    metadata = blueprint.get("metadata") or {}
    if metadata.get("version") != 1 or not isinstance(metadata.get("scenario"), dict):
        yield "metadata needs version 1 and a scenario"
    if not isinstance((metadata.get("designer") or {}).get("orphans"), list):
        yield "metadata.designer.orphans is missing"
    flow = blueprint.get("flow")
    if not isinstance(flow, list) or not flow:
        yield "flow is empty"
        return

    numbers = [module.get("id") for module, _ in walk(flow)]
    for number in {number for number in numbers if numbers.count(number) > 1}:
        yield f"id {number} is used twice"
    for index, (module, above) in enumerate(walk(flow)):
        for fault in _module_faults(module, above, dlq=bool((metadata.get("scenario") or {}).get("dlq"))):
            yield f"module {module.get('id')}: {fault}"
        if index == 0 and "filter" in module:
            yield "the trigger has a filter"
        if (index == 0) != (module.get("module") in _TRIGGERS):
            yield f"module {module.get('id')}: a trigger comes first, and only there"
    text = json.dumps(blueprint, ensure_ascii=False)
    for what, pattern in _SECRETS.items():
        if match := pattern.search(text):
            yield f"{what}: {match.group(0)}"


def walk(flow: list[Any], above: tuple[int, ...] = ()) -> Iterator[tuple[dict[str, Any], tuple[int, ...]]]:
    """Every module, with the ids of the modules that run before it on its path."""
    for module in flow:
        yield module, above
        for route in module.get("routes") or ():
            yield from walk(route.get("flow") or [], (*above, module.get("id")))
        # An error handler may also use the data of the module that failed.
        yield from walk(module.get("onerror") or [], (*above, module.get("id")))
        above = (*above, module.get("id"))


def _module_faults(module: Mapping[str, Any], above: tuple[int, ...], *, dlq: bool) -> Iterator[str]:
    number, name = module.get("id"), module.get("module")
    if not isinstance(number, int) or number < 1:
        yield "its id must be a whole number from 1"
    if name not in MODULES:
        yield f"{name} is no module of Make's"
    elif module.get("version") != MODULES[name]:
        yield f"{name} has version {MODULES[name]}"
    for key in _BOUND:
        if key in (module.get("parameters") or {}):
            yield f"parameters.{key} belongs to an account and cannot be imported"
    meta = module.get("metadata") or {}
    for key in _EXPORTED:
        if key in meta:
            yield f"metadata.{key} is the exporter's"
    where = meta.get("designer") or {}
    if not all(isinstance(where.get(axis), int) for axis in "xy"):
        yield "it has no place: metadata.designer.x and y"

    if name == "builtin:BasicRouter":
        yield from _router_faults(module)
    if "filter" in module:
        yield from _filter_faults(module["filter"])
    handlers = [handler.get("module") for handler in module.get("onerror") or ()]
    if handlers and handlers[-1] not in _DIRECTIVES:
        yield "its error handler does not end with a directive"
    if name == "builtin:Break":
        yield from _break_faults(module.get("mapper") or {}, dlq=dlq)
    if str(name).startswith("http:"):
        yield from _http_faults(module.get("mapper") or {})
    if name == "gateway:WebhookRespond" and not isinstance((module.get("mapper") or {}).get("status"), str):
        yield "its status must be text"
    used = json.dumps([module.get("mapper"), module.get("filter")], ensure_ascii=False)
    for expression in _REFERENCE.findall(used):
        for source in _MODULE.findall(expression):
            if int(source) not in above:
                yield f"it uses {{{{{source}.…}}}}, which does not run before it"


def _router_faults(module: Mapping[str, Any]) -> Iterator[str]:
    if "mapper" not in module or module["mapper"] is not None:
        yield "a router's mapper is null"
    if "filter" in module:
        yield "a router has no filter: it stands on the first module of a route"
    if "onerror" in module:
        yield "a router has no error handler"
    routes = module.get("routes")
    if not isinstance(routes, list) or not routes or not all(route.get("flow") for route in routes):
        yield "a router needs routes with modules in each"


def _filter_faults(module_filter: Mapping[str, Any]) -> Iterator[str]:
    conditions = module_filter.get("conditions")
    nested = isinstance(conditions, list) and conditions and all(isinstance(each, list) and each for each in conditions)
    if not module_filter.get("name") or not nested:
        yield "a filter has a name, and conditions as a list (OR) of lists (AND)"
        return
    for condition in (condition for group in conditions for condition in group):
        operator = condition.get("o", "")
        if not _OPERATORS.fullmatch(operator):
            yield f"{operator!r} is no operator"
        if ("b" in condition) == (operator in ("exist", "notexist")):
            yield f"{operator} takes {'no b' if 'b' in condition else 'a b'}"


def _break_faults(mapper: Mapping[str, Any], *, dlq: bool) -> Iterator[str]:
    if not dlq:
        yield "Break keeps nothing without metadata.scenario.dlq"
    if mapper == {"retry": False}:  # the run is kept for a person
        return
    if mapper.get("retry") is not True or not all(isinstance(mapper.get(key), int) for key in ("count", "interval")):
        yield "Break needs retry, count and interval"


def _http_faults(mapper: Mapping[str, Any]) -> Iterator[str]:
    if not _URL.match(str(mapper.get("url"))):
        yield "its url must begin with https:// and a host that is written out"
    if not isinstance(mapper.get("timeout"), int) or not 1 <= mapper["timeout"] <= 300:
        yield "its timeout must be 1 to 300 seconds"
    for header in [*mapper.get("headers", ()), *mapper.get("queryParameters", ())]:
        if set(header) != {"name", "value"}:
            yield "its headers are pairs of name and value"
    body = mapper.get("jsonStringBodyContent")
    if body is None:
        return
    # A reference between quotes is inserted unescaped: a quote or a line break in it breaks the JSON. Only the output
    # of TransformToJSON is already quoted, and base64 has no character that JSON escapes.
    bare = re.sub(r"\{\{\d+\.json\}\}", '"text"', body)
    bare = re.sub(r'"\{\{base64\(\d+\.data\)\}\}"', '"text"', bare)
    if _REFERENCE.search(bare):
        yield "its body has a value that is not escaped: pass it through json:TransformToJSON"
    try:
        json.loads(_REFERENCE.sub("x", bare))
    except ValueError as exc:
        yield f"its body is no JSON: {exc}"
