"""`template`: submit bodies with placeholders, kept under a name."""

from __future__ import annotations

from typing import Any

import click

from ...core.text import strict_json
from ..client import open_client
from ..input_files import InputFile, decode_text, read_bytes
from ..render.output import Output, json_option, pass_output


@click.group()
def template() -> None:
    """Save, list, show and delete templates: submit bodies with {{placeholders}}."""


@template.command()
@click.argument("name")
@click.argument("file", type=InputFile())
@click.option("--description", help="What the template is for.")
@click.option("--shared/--private", default=None, help="Whether every key may use it (default on this machine).")
@json_option
@pass_output
def save(output: Output, name: str, file: str, description: str | None, shared: bool | None) -> None:
    """
    Store FILE under NAME; prints name and version.

    FILE holds a submit body as JSON, or plain text, which is the prompt; - reads stdin. An unchanged body is no new
    version.
    """
    fields: dict[str, Any] = {"body": _body(read_bytes(file, field="FILE"), file)}
    if description is not None:
        fields["description"] = description
    if shared is not None:
        fields["shared"] = shared
    with open_client(output) as client:
        answer = client.save_template(name, fields)
    if output.json:
        output.value(answer)
        return
    output.line(f"{answer['name']}@{answer['version']}")
    output.message(f"placeholders: {', '.join(answer['placeholders']) or 'none'}")


@template.command("list")
@json_option
@pass_output
def list_(output: Output) -> None:
    """List the newest version of each template."""
    with open_client(output) as client:
        rows = client.templates()
    if output.json:
        for row in rows:
            output.record(row)
        return
    output.table(
        ("NAME", "VERSION", "PLACEHOLDERS", "OWNER", "SHARED", "DESCRIPTION"),
        (
            (
                row["name"],
                row["version"],
                ", ".join(row["placeholders"]),
                row["owner"],
                "yes" if row["shared"] else "no",
                row["description"],
            )
            for row in rows
        ),
    )


@template.command()
@click.argument("name", metavar="NAME[@VERSION]")
@json_option
@pass_output
def show(output: Output, name: str) -> None:
    """Print the body of a template; with --json the complete record."""
    with open_client(output) as client:
        record = client.template(name)
    output.value(record if output.json else record["body"])


@template.command()
@click.argument("name")
@pass_output
def delete(output: Output, name: str) -> None:
    """Delete a template. Jobs that were made of it are not changed."""
    with open_client(output) as client:
        client.delete_template(name)
    output.message(f"The template {name} is deleted.")


def _body(data: bytes, source: str) -> Any:
    """The JSON of a file; a text that is no JSON object is the prompt."""
    if data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") and not data.lstrip().startswith(b"{{"):
        return strict_json.loads(data)

    return {"prompt": decode_text(data, source, field="FILE")}
