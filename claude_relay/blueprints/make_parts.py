"""
Parts of scenarios for Make.com.

They follow the rules of Make's own validator (https://www.make.com/blueprint.md,
github.com/integromat/make-blueprints): parts that belong to an account (webhooks, connections) are left out, and
attached after the import.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .placeholders import Blank

_STEP = 300  # between two modules on the canvas

Module = dict[str, Any]
Test = dict[str, str]

#: A callback without an answer, and both kinds of an answer that is not whole.
FAILED: list[list[Test]] = [[{"a": "{{1.status}}", "o": "text:equal", "b": "failed"}]]
CUT: list[list[Test]] = [
    [
        {"a": "{{1.status}}", "o": "text:equal", "b": "completed"},
        {"a": f"{{{{1.{mark}}}}}", "o": "text:equal", "b": "true"},
    ]
    for mark in ("truncated", "responseTruncated")
]


def equal(field: str, value: str) -> Test:
    """The test that a field, such as `1.status`, has this text."""
    return {"a": f"{{{{{field}}}}}", "o": "text:equal", "b": value}


def not_equal(field: str, value: str) -> Test:
    """The test that a field has another text, or none."""
    return {"a": f"{{{{{field}}}}}", "o": "text:notequal", "b": value}


def filtered(module: Module, name: str, conditions: list[list[Test]]) -> Module:
    """The module behind a filter: a list (OR) of lists (AND)."""
    return {**module, "filter": {"name": name, "conditions": conditions}}


def complete(*tests: Test) -> list[list[Test]]:
    """The conditions of a complete answer, with further tests."""
    return [
        [
            equal("1.status", "completed"),
            not_equal("1.truncated", "true"),
            not_equal("1.responseTruncated", "true"),
            *tests,
        ]
    ]


def module(
    number: int,
    kind: str,
    *,
    x: int,
    y: int = 0,
    version: int = 1,
    parameters: dict[str, Any] | None = None,
    mapper: dict[str, Any] | None = None,
    name: str | None = None,
) -> Module:
    """One module; `x` counts the steps from the left."""
    designer: dict[str, Any] = {"x": x * _STEP, "y": y}
    if name:
        designer["name"] = name

    return {
        "id": number,
        "module": kind,
        "version": version,
        "parameters": parameters or {},
        "mapper": mapper or {},
        "metadata": {"designer": designer},
    }


def variable(number: int, variable_name: str, value: str, *, x: int, y: int = 0, name: str | None = None) -> Module:
    """The module that sets one variable; where it has a name, a place for the user's own modules."""
    return module(
        number,
        "util:SetVariable2",
        x=x,
        y=y,
        name=name,
        mapper={"name": variable_name, "scope": "roundtrip", "value": value},
    )


def router(number: int, routes: Sequence[list[Module]], *, x: int, y: int = 0) -> Module:
    """A router: each route begins with the module that has its filter, and they run in their order."""
    part = module(number, "builtin:BasicRouter", x=x, y=y)
    part["mapper"] = None
    part["routes"] = [{"flow": flow} for flow in routes]
    del part["parameters"]

    return part


def http(
    number: int,
    method: str,
    url: str,
    *,
    handler: int,
    x: int,
    y: int = 0,
    headers: dict[str, str] | None = None,
    body: str = "{}",
    parse: bool = True,
    timeout: int = 60,
    name: str | None = None,
    handler_y: int | None = None,
) -> Module:
    """A request to the relay; when it fails, the module `handler` keeps the run and repeats it later."""
    mapper: dict[str, Any] = {
        "url": url,
        "method": method,
        "headers": [{"name": key, "value": value} for key, value in (headers or {}).items()],
        "queryParameters": [],
    }
    if method == "post":
        mapper |= {"contentType": "json", "inputMethod": "jsonString", "jsonStringBodyContent": body}
    mapper |= {
        "parseResponse": parse,
        "stopOnHttpError": True,
        "timeout": timeout,
        "allowRedirects": False,
        "shareCookies": False,
        "requestCompressedContent": True,
    }
    part = module(
        number,
        "http:MakeRequest",
        x=x,
        y=y,
        version=4,
        name=name,
        parameters={"authenticationType": "noAuth", "tlsType": ""},
        mapper=mapper,
    )
    retry = {"retry": True, "count": 5, "interval": 15}
    part["onerror"] = [module(handler, "builtin:Break", x=x + 1, y=y if handler_y is None else handler_y, mapper=retry)]

    return part


def acknowledge(number: int, blank: Blank, *, handler: int, x: int, y: int) -> Module:
    """The last step of a route: the call of the callback's `ackUrl`, passed over where there is none."""
    part = http(
        number,
        "post",
        # Make's rules require a URL that begins with https://: only the token comes from the callback.
        f'{blank.url}/ack/{{{{last(split(1.ackUrl; "/"))}}}}',
        handler=handler,
        x=x,
        y=y,
        parse=False,
        timeout=40,
        name="Acknowledge: the last step",
    )

    # Null if the relay does not know its own URL (RELAY_PUBLIC_URL).
    return {
        **{key: value for key, value in part.items() if key != "onerror"},
        "filter": {"name": "there is an ackUrl", "conditions": [[{"a": "{{1.ackUrl}}", "o": "exist"}]]},
        "onerror": part["onerror"],
    }


def stop(number: int, text: str, *, y: int, name: str, conditions: list[list[Test]]) -> Module:
    """
    The module that fails, so that the run is marked in the history and kept under *Incomplete executions*.

    Make has no module that throws; its help recommends *Parse JSON* with a text that is no JSON. Break without retry
    keeps the run without switching the scenario off, as an unhandled error would. It is a route of its own, the last
    one: a filter that does not pass (no ackUrl) ends its route.
    """
    part = module(number, "json:ParseJSON", x=2, y=y, name="Stop with an error", mapper={"json": text})
    part = filtered(part, name, conditions)
    part["onerror"] = [module(number + 1, "builtin:Break", x=3, y=y, mapper={"retry": False})]

    return part


def route(number: int, blank: Blank, first: Module, *, y: int) -> list[Module]:
    """A route of the receiving scenario: `first`, with its filter, and the acknowledgement."""
    return [first, acknowledge(number + 1, blank, handler=number + 4, x=3, y=y)]


def failure_routes(blank: Blank, *, y: int, numbers: tuple[int, int, int]) -> list[list[Module]]:
    """The routes of failures and of cut answers, and the last one, which stops with an error."""
    failure, cut, last = numbers
    problem = filtered(
        variable(failure, "problem", "{{1.errorType}}: {{1.error}}", x=2, y=y, name="Failure: tell somebody here"),
        "failed",
        FAILED,
    )
    truncated = filtered(
        variable(
            cut,
            "problem",
            "truncated: raise options.maxTokens of {{1.requestId}}, or fetch the whole answer: {{1.resultUrl}}",
            x=2,
            y=y + 200,
            name="Cut answer: tell somebody here",
        ),
        "truncated",
        CUT,
    )
    text = "{{1.requestId}} {{1.status}} {{1.errorType}} {{1.error}} (stopReason: {{1.stopReason}})"

    return [
        route(failure, blank, problem, y=y),
        route(cut, blank, truncated, y=y + 200),
        [stop(last, text, y=y + 400, name="failed or truncated", conditions=[*FAILED, *CUT])],
    ]


def scenario(name: str, description: str, flow: list[Module]) -> dict[str, Any]:
    """The file to import."""
    return {
        "name": name,
        "description": description,
        "flow": flow,
        "metadata": {
            "version": 1,
            "scenario": {
                "roundtrips": 1,
                "maxErrors": 3,
                "autoCommit": True,
                "autoCommitTriggerLast": True,
                "sequential": False,
                "confidential": False,
                "dataloss": False,
                "dlq": True,  # "store incomplete executions": without it a Break handler stores nothing
                "freshVariables": False,
            },
            "designer": {"orphans": []},
        },
    }
