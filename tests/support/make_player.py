"""
Plays a blueprint as Make would: webhook in, module after module, real HTTP out.

Knows the handful of modules and functions that the blueprints use, and raises on any other. A request pastes its values
into the text of the body without escaping them, as Make does.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

import requests

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.S)


class Failed(Exception):
    """A module answered with an error; `left` is what a Break handler would keep: where, and what was known by then."""

    def __init__(self, module: int, status: int, body: str, known: dict[int, Any]) -> None:
        super().__init__(f"module {module}: {status} {body}")
        self.module, self.status, self.known = module, status, known


class Player:
    """One scenario, once imported and filled in."""

    def __init__(self, blueprint: Mapping[str, Any]) -> None:
        self._flow = blueprint["flow"]
        self.http = requests.Session()
        self.http.trust_env = False

    def run(self, bundle: dict[str, Any]) -> dict[int, Any]:
        """What every module said, by its id. Raises `Failed`."""
        known: dict[int, Any] = {1: bundle}
        self._play(self._flow[1:], known)
        return known

    def again(self, failed: Failed) -> dict[int, Any]:
        """What Break does later: go on from the module that failed, with what the ones before it had said."""
        at = next(index for index, module in enumerate(self._flow) if module["id"] == failed.module)
        known = dict(failed.known)
        self._play(self._flow[at:], known)
        return known

    def _play(self, flow: list[Any], known: dict[int, Any]) -> None:
        for module in flow:
            if "filter" in module and not self._passes(module["filter"], known):
                return
            if module["module"] == "builtin:BasicRouter":
                for route in module["routes"]:
                    self._play(route["flow"], known)
                continue
            known[module["id"]] = self._do(module, known)

    def _do(self, module: Mapping[str, Any], known: dict[int, Any]) -> Any:
        mapper = module["mapper"]
        if module["module"] == "util:SetVariable2":
            return {mapper["name"]: self._value(mapper["value"], known)}
        if module["module"] == "json:TransformToJSON":
            return {"json": json.dumps(self._value(mapper["object"], known), ensure_ascii=False)}
        if module["module"] != "http:MakeRequest":
            raise NotImplementedError(module["module"])
        response = self.http.request(
            mapper["method"],
            self._value(mapper["url"], known),
            headers={
                "Content-Type": "application/json",
                **{one["name"]: self._value(one["value"], known) for one in mapper["headers"]},
            },
            data=str(self._value(mapper["jsonStringBodyContent"], known)).encode(),
            timeout=mapper["timeout"],
            allow_redirects=mapper["allowRedirects"],
        )
        if mapper["stopOnHttpError"] and not response.ok:
            raise Failed(module["id"], response.status_code, response.text, known)
        return {"statusCode": response.status_code, "data": response.json() if mapper["parseResponse"] else None}

    def _passes(self, condition: Mapping[str, Any], known: dict[int, Any]) -> bool:
        def holds(one: Mapping[str, Any]) -> bool:
            left = self._value(one["a"], known)
            if one["o"] == "exist":
                return left not in (None, "")
            if one["o"] == "text:equal":
                return bool(left == one["b"])
            raise NotImplementedError(one["o"])

        return any(all(holds(one) for one in some) for some in condition["conditions"])

    def _value(self, text: str, known: dict[int, Any]) -> Any:
        if (whole := _EXPRESSION.fullmatch(text)) and "{{" not in whole.group(1):
            return self._evaluate(whole.group(1), known)
        return _EXPRESSION.sub(lambda found: _pasted(self._evaluate(found.group(1), known)), text)

    def _evaluate(self, expression: str, known: dict[int, Any]) -> Any:
        expression = expression.strip()
        if call := re.fullmatch(r"ifempty\((.*?);\s*(.*)\)", expression):
            value = self._evaluate(call.group(1), known)
            return value if value not in (None, "") else self._evaluate(call.group(2), known)
        if expression == "uuid":
            return str(uuid.uuid4())
        if path := re.fullmatch(r"(\d+)\.(\w+)", expression):
            return (known.get(int(path.group(1))) or {}).get(path.group(2))
        raise NotImplementedError(expression)


def _pasted(value: Any) -> str:
    return "" if value is None else str(value)
