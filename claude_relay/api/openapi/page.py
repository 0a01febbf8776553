"""The readable page of the document, and the start page: HTML without scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="/docs/style.css">
</head>
<body>
"""
_HOME = """<main>
<h1>claude-relay</h1>
<p>This service takes a prompt for Claude over HTTP, keeps it on disk, makes the call, and delivers the answer to a
webhook. Send requests to <code>POST /api/claude</code> with your key in <code>X-API-Key</code>.</p>
<ul>
<li><a href="/docs">Documentation of the API</a></li>
<li><a href="/openapi.json">OpenAPI document</a>, for tools and generated clients</li>
{more}<li><a href="/health">Health</a></li>
</ul>
<pre>curl {base}/api/claude -H "X-API-Key: $KEY" -H "Content-Type: application/json" \\
  -d '{{"prompt": "Say hello.", "webhookUrl": "https://hook.example/claude"}}'</pre>
</main>
</body>
</html>
"""


def home(base: str, *, dashboard: bool) -> str:
    """The start page; `base` is the URL at which the caller reached it."""
    more = '<li><a href="/dashboard">Dashboard</a></li>\n' if dashboard else ""

    return _HEAD.format(title="claude-relay") + _HOME.format(base=escape(base), more=more)


def docs(document: Mapping[str, Any]) -> str:
    """The document as a page."""
    info = document["info"]
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    operations.sort(key=lambda item: item[1]["tags"][0] != "Submit")  # stable: submit first
    parts = [
        _HEAD.format(title="claude-relay API"),
        f"<header><h1>claude-relay API {escape(info['version'])}</h1><p>{escape(info['summary'])}</p>",
        f'<p>{escape(info["description"])} <a href="/openapi.json">OpenAPI document</a></p></header>\n<main>',
        _contents(operations),
    ]
    for tag, group in groupby(operations, key=lambda item: item[1]["tags"][0]):
        parts.append(f"<h2>{escape(tag)}</h2>")
        for name, operation in group:
            parts.extend(_operation(name, operation))
    parts.append("<h2>Callbacks</h2>")
    for name, methods in document["webhooks"].items():
        parts.extend(_operation(f"POST {name}", methods["post"]))
    parts.append("<h2>Schemas</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(f'<h3 id="{escape(name)}">{escape(name)}</h3>')
        parts.extend(_schema(schema))
    parts.append("</main>\n</body>\n</html>\n")

    return "\n".join(parts)


def _contents(operations: list[tuple[str, Mapping[str, Any]]]) -> str:
    items = "".join(
        f'<li><a href="#{escape(operation["operationId"])}"><code>{escape(name)}</code></a></li>'
        for name, operation in operations
    )

    return f'<nav aria-label="Routes"><ul>{items}</ul></nav>'


def _operation(name: str, operation: Mapping[str, Any]) -> Iterator[str]:
    method, _, path = name.partition(" ")
    heading = f'<span class="method">{method}</span> <code>{escape(path)}</code>'
    yield f'<h3 id="{escape(operation["operationId"])}">{heading}</h3>'
    yield f"<p>{escape(operation['summary'])}. {escape(operation['description'])}".replace("..", ".") + "</p>"
    if parameters := operation.get("parameters"):
        yield _table(
            ("parameter", "in", "meaning"),
            [(p["name"], p["in"], escape(p.get("description", ""))) for p in parameters],
        )
    if body := operation.get("requestBody"):
        yield from _example("Request body", body["content"])
    rows = []
    for status, answer in operation["responses"].items():
        number = answer["$ref"].rpartition("/")[2] if "$ref" in answer else status
        rows.append((str(status), "error" if "$ref" in answer else escape(answer["description"])))
        if "$ref" not in answer and number != "503":
            yield from _example(f"Answer {number}", answer.get("content", {}))
    yield _table(("status", "meaning"), rows)


def _example(title: str, content: Mapping[str, Any]) -> Iterator[str]:
    for media, entry in content.items():
        if "example" in entry and media == "application/json":
            text = json.dumps(entry["example"], indent=2, ensure_ascii=False)
            yield f"<p>{escape(title)}: {_kind(entry['schema'])}</p><pre>{escape(text)}</pre>"


def _schema(schema: Mapping[str, Any]) -> Iterator[str]:
    if text := schema.get("description"):
        yield f"<p>{escape(text)}</p>"
    required = schema.get("required", ())
    rows = [
        (
            name,
            _kind(field) + (", required" if name in required else ""),
            escape(field.get("description", "")),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    yield _table(("field", "type", "meaning"), rows)


def _kind(schema: Mapping[str, Any]) -> str:
    """The type of a schema in words, as HTML."""
    if reference := schema.get("$ref"):
        name = escape(reference.rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    for key in ("anyOf", "oneOf"):
        if key in schema and "type" not in schema:
            return " or ".join(_kind(each) for each in schema[key])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kind = schema.get("type", "any")

    return escape(" or ".join(kind) if isinstance(kind, list) else str(kind))


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(
        f"<tr><td><code>{escape(row[0])}</code></td>" + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )

    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
