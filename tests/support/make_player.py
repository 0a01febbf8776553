"""
Executes a blueprint as Make would: webhook in, module after module, real HTTP out.

It supports only the modules and functions that the blueprints use, and raises on any other. Values are inserted into a
request body without escaping, as Make does.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

import requests

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.S)


class Failed(Exception):
    """A module failed; a Break handler would keep the module's id and the results so far."""

    def __init__(self, module: int, status: int, body: str, results: dict[int, Any]) -> None:
        super().__init__(f"module {module}: {status} {body}")
        self.module, self.status, self.results = module, status, results


class Player:
    """One scenario that was imported and filled in."""

    def __init__(self, blueprint: Mapping[str, Any], *, drive: Mapping[str, bytes] | None = None) -> None:
        """`drive` holds the content of the files of Google Drive by id."""
        self._flow, self._drive = blueprint["flow"], drive or {}
        self.log: list[tuple[int, Any]] = []  # every result, also those of each round of an iterator
        self.http = requests.Session()
        self.http.trust_env = False

    def run(self, bundle: dict[str, Any]) -> dict[int, Any]:
        """Run the scenario; returns the result of every module by id. Raises `Failed`."""
        results: dict[int, Any] = {1: bundle}
        self._play(self._flow[1:], results)
        return results

    def retry(self, failed: Failed) -> dict[int, Any]:
        """Continue from the failed module with the earlier results, as Break does later."""
        at = next(index for index, module in enumerate(self._flow) if module["id"] == failed.module)
        results = dict(failed.results)
        self._play(self._flow[at:], results)
        return results

    def _play(self, flow: list[Any], results: dict[int, Any]) -> None:
        for index, module in enumerate(flow):
            if "filter" in module and not self._passes(module["filter"], results):
                return
            if module["module"] == "builtin:BasicRouter":
                for route in module["routes"]:
                    self._play(route["flow"], results)
                continue
            if module["module"] == "builtin:BasicFeeder":
                for item in self._value(module["mapper"]["array"], results) or ():
                    self._play(flow[index + 1 :], results | {module["id"]: item})
                return
            results[module["id"]] = self._do(module, results)
            self.log.append((module["id"], results[module["id"]]))

    def _do(self, module: Mapping[str, Any], results: dict[int, Any]) -> Any:
        mapper = module["mapper"]
        if module["module"] == "util:SetVariable2":
            return {mapper["name"]: self._value(mapper["value"], results)}
        if module["module"] == "json:TransformToJSON":
            return {"json": json.dumps(self._value(mapper["object"], results), ensure_ascii=False)}
        if module["module"] == "json:ParseJSON":
            text = self._value(mapper["json"], results)
            try:
                return json.loads(text)
            except ValueError:
                raise Failed(module["id"], 0, text, results) from None
        if module["module"] == "google-drive:getAFile":
            return {"data": self._drive[self._value(mapper["file"], results)]}
        if module["module"] != "http:MakeRequest":
            raise NotImplementedError(module["module"])
        response = self.http.request(
            mapper["method"],
            self._value(mapper["url"], results),
            headers={
                "Content-Type": "application/json",
                **{header["name"]: self._value(header["value"], results) for header in mapper["headers"]},
            },
            data=str(self._value(mapper.get("jsonStringBodyContent", ""), results)).encode(),
            timeout=mapper["timeout"],
            allow_redirects=mapper["allowRedirects"],
        )
        if mapper["stopOnHttpError"] and not response.ok:
            raise Failed(module["id"], response.status_code, response.text, results)
        return {"statusCode": response.status_code, "data": response.json() if mapper["parseResponse"] else None}

    def _passes(self, condition: Mapping[str, Any], results: dict[int, Any]) -> bool:
        def holds(test: Mapping[str, Any]) -> bool:
            left = self._value(test["a"], results)
            if test["o"] == "exist":
                return left not in (None, "")
            if test["o"] == "text:contain:ci":
                return test["b"].lower() in _inserted(left).lower()
            if test["o"] in ("text:equal", "text:notequal"):
                return (_inserted(left) == test["b"]) is (test["o"] == "text:equal")
            raise NotImplementedError(test["o"])

        return any(all(holds(test) for test in group) for group in condition["conditions"])

    def _value(self, text: str, results: dict[int, Any]) -> Any:
        if (match := _EXPRESSION.fullmatch(text)) and "{{" not in match.group(1):
            return self._evaluate(match.group(1), results)
        return _EXPRESSION.sub(lambda match: _inserted(self._evaluate(match.group(1), results)), text)

    def _evaluate(self, expression: str, results: dict[int, Any]) -> Any:
        expression = expression.strip()
        if call := re.fullmatch(r"ifempty\((.*?);\s*(.*)\)", expression):
            value = self._evaluate(call.group(1), results)
            return value if value not in (None, "") else self._evaluate(call.group(2), results)
        if call := re.fullmatch(r'last\(split\((.*); "(.)"\)\)', expression):
            return str(self._evaluate(call.group(1), results)).split(call.group(2))[-1]
        if call := re.fullmatch(r"base64\((.*)\)", expression):
            return base64.b64encode(self._evaluate(call.group(1), results)).decode()
        if call := re.fullmatch(r'join\(map\((.*); "(\w+)"; "(\w+)"; "(\w+)"\); "(.*)"\)', expression):
            items = self._evaluate(call.group(1), results) or ()
            chosen = [item[call.group(2)] for item in items if _inserted(item[call.group(3)]) == call.group(4)]
            return call.group(5).join(chosen)
        if text := re.fullmatch(r'"([^"]*)"', expression):
            return text.group(1)
        if expression == "uuid":
            return str(uuid.uuid4())
        if path := re.fullmatch(r"(\d+)\.([\w.]+)", expression):
            value = results.get(int(path.group(1)))
            for name in path.group(2).split("."):
                value = (value or {}).get(name)
            return value
        raise NotImplementedError(expression)


def _inserted(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()

    return "" if value is None else str(value)
