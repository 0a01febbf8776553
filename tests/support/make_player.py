"""
Execution of a blueprint as Make does it: webhook in, module after module, real HTTP out.

It supports the modules and functions that the blueprints use, and raises on any other. A request inserts its values
into the body without escaping them, as Make does.
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
    """A module failed; it has what a Break handler keeps: the module, and the outputs of those before it."""

    def __init__(self, module: int, status: int, body: str, outputs: dict[int, Any]) -> None:
        super().__init__(f"module {module}: {status} {body}")
        self.module, self.status, self.outputs = module, status, outputs


class Player:
    """One imported scenario."""

    def __init__(self, blueprint: Mapping[str, Any]) -> None:
        self._flow = blueprint["flow"]
        self.http = requests.Session()
        self.http.trust_env = False

    def run(self, bundle: dict[str, Any]) -> dict[int, Any]:
        """Run the scenario; returns the output of every module by its id. Raises `Failed`."""
        outputs: dict[int, Any] = {1: bundle}
        self._play(self._flow[1:], outputs)
        return outputs

    def again(self, failed: Failed) -> dict[int, Any]:
        """Retry as Break does: from the failed module on, with the outputs of those before it."""
        at = next(index for index, module in enumerate(self._flow) if module["id"] == failed.module)
        outputs = dict(failed.outputs)
        self._play(self._flow[at:], outputs)
        return outputs

    def _play(self, flow: list[Any], outputs: dict[int, Any]) -> None:
        for module in flow:
            if "filter" in module and not self._passes(module["filter"], outputs):
                return
            if module["module"] == "builtin:BasicRouter":
                for route in module["routes"]:
                    self._play(route["flow"], outputs)
                continue
            outputs[module["id"]] = self._do(module, outputs)

    def _do(self, module: Mapping[str, Any], outputs: dict[int, Any]) -> Any:
        mapper = module["mapper"]
        if module["module"] == "util:SetVariable2":
            return {mapper["name"]: self._value(mapper["value"], outputs)}
        if module["module"] == "json:TransformToJSON":
            return {"json": json.dumps(self._value(mapper["object"], outputs), ensure_ascii=False)}
        if module["module"] != "http:MakeRequest":
            raise NotImplementedError(module["module"])
        response = self.http.request(
            mapper["method"],
            self._value(mapper["url"], outputs),
            headers={
                "Content-Type": "application/json",
                **{header["name"]: self._value(header["value"], outputs) for header in mapper["headers"]},
            },
            data=str(self._value(mapper["jsonStringBodyContent"], outputs)).encode(),
            timeout=mapper["timeout"],
            allow_redirects=mapper["allowRedirects"],
        )
        if mapper["stopOnHttpError"] and not response.ok:
            raise Failed(module["id"], response.status_code, response.text, outputs)
        return {"statusCode": response.status_code, "data": response.json() if mapper["parseResponse"] else None}

    def _passes(self, condition: Mapping[str, Any], outputs: dict[int, Any]) -> bool:
        def holds(term: Mapping[str, Any]) -> bool:
            left = self._value(term["a"], outputs)
            if term["o"] == "exist":
                return left not in (None, "")
            if term["o"] == "text:equal":
                return bool(left == term["b"])
            raise NotImplementedError(term["o"])

        return any(all(holds(term) for term in terms) for terms in condition["conditions"])

    def _value(self, text: str, outputs: dict[int, Any]) -> Any:
        if (match := _EXPRESSION.fullmatch(text)) and "{{" not in match.group(1):
            return self._evaluate(match.group(1), outputs)
        return _EXPRESSION.sub(lambda match: _pasted(self._evaluate(match.group(1), outputs)), text)

    def _evaluate(self, expression: str, outputs: dict[int, Any]) -> Any:
        expression = expression.strip()
        if call := re.fullmatch(r"ifempty\((.*?);\s*(.*)\)", expression):
            value = self._evaluate(call.group(1), outputs)
            return value if value not in (None, "") else self._evaluate(call.group(2), outputs)
        if expression == "uuid":
            return str(uuid.uuid4())
        if path := re.fullmatch(r"(\d+)\.(\w+)", expression):
            return (outputs.get(int(path.group(1))) or {}).get(path.group(2))
        raise NotImplementedError(expression)


def _pasted(value: Any) -> str:
    return "" if value is None else str(value)
