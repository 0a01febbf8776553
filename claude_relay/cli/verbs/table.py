"""`table`: many rows in one request, and what became of them."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from ...core.templates import Compiled, read_variables
from ...core.text.durations import parse_duration
from ...errors import Conflict, InvalidRequest, Problem, RelayError, TooLarge
from ..client import RelayClient, open_client
from ..client.tables import TableClient
from ..output_files import check_writable, write_file
from ..render.output import Output, json_option, pass_output
from ..render.progress import ProgressLine
from ..table_rows import CsvRows, FileRows, Rows, with_line

#: The interval of looks at a collection, in seconds.
_POLL = 0.5
_FORMATS = ("csv", "excel", "json", "ndjson")
_ENDED = ("completed", "partial", "failed")


@click.group()
def table() -> None:
    """Submit a table: each row becomes a job, and one callback follows when all have ended."""


@table.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--files", "folder", type=click.Path(exists=True, file_okay=False), help="One row a file: file, name.")
@click.option("-t", "--template", metavar="NAME", help="A saved template, or one version of it as NAME@3.")
@click.option("--prompt", metavar="TEXT", help="A prompt with {{columns}}, instead of a template.")
@click.option("-m", "--model", help="With --prompt: a model id, or smart, fast, cheap.")
@click.option("--mode", type=click.Choice(("live", "batch", "auto")), help="batch is half the price.")
@click.option("--group", help="Group, whose jobs share a concurrency, a rate and a pause.")
@click.option("--webhook", metavar="URL", help="URL of the one callback.")
@click.option("--id", "collection_id", metavar="ID", help="The collectionId; a repeated one never runs twice.")
@click.option("--max-cost", type=float, metavar="USD", help="Start no row once this much is spent.")
@click.option("--on-invalid", type=click.Choice(("refuse", "fail")), help="What an invalid row does.")
@click.option("--delimiter", help="Of the CSV; without it, it is read from the line of titles.")
@click.option("--charset", help="Of the CSV, such as windows-1252; without it UTF-8.")
@click.option("--wait", is_flag=True, help="Wait for the end, and print the results as CSV.")
@click.option("--timeout", default="24h", show_default=True, help="Maximum time to wait.")
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="With --wait: write the results to this file.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, with an estimate; send nothing.")
@json_option
@click.pass_context
@pass_output
def submit(output: Output, ctx: click.Context, /, file: IO[bytes] | None, folder: str | None, **options: Any) -> int:
    """
    Submit the rows of FILE (CSV, - reads stdin), or the files of a folder; prints the collectionId.

    The titles of the columns are the names of the placeholders. With --wait: exit 5 if a row failed.
    """
    if (file is None) == (folder is None):
        raise click.UsageError("Name a CSV file, or a folder with --files.", ctx)
    if bool(options["template"]) == bool(options["prompt"]):
        raise click.UsageError("Name a template with -t, or give --prompt TEXT.", ctx)
    if options["out"] and not options["wait"]:
        raise click.UsageError("-o needs --wait: the results exist once the rows have ended.", ctx)
    if options["out"]:
        check_writable(Path(options["out"]), field="--out")
    seconds = _seconds(options["timeout"])
    body = _body(options)
    source = (
        FileRows(Path(folder)) if folder else CsvRows(file, charset=options["charset"], delimiter=options["delimiter"])
    )
    with open_client(output) as client:
        if options["dry_run"]:
            return _dry_run(output, client, body, source)
        try:
            name = _send(output, client.tables, body, source)
        except InvalidRequest as exc:
            if not exc.problems or not source.lines:
                raise
            raise InvalidRequest(problems=[with_line(each, source.lines) for each in exc.problems]) from None
        if not options["wait"]:
            output.value(client.tables.show(name)) if output.json else output.line(name)
            return 0

        return _await(output, client.tables, name, seconds, options["out"])


@table.command()
@click.argument("name", metavar="ID")
@json_option
@pass_output
def status(output: Output, name: str) -> None:
    """Show the counts of a collection, its cost and its callback."""
    with open_client(output) as client:
        _print(output, client.tables.show(name))


@table.command()
@click.argument("name", metavar="ID")
@click.option("--format", "form", type=click.Choice(_FORMATS), help="Default: by the name of the file, else csv.")
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="Write to this file instead of stdout.")
@click.option("--delimiter", help="Of CSV: a comma, a semicolon or tab.")
@click.option("--decimal", type=click.Choice((".", ",")), help="Of CSV: the decimal mark of numbers.")
@json_option
@pass_output
def results(
    output: Output, name: str, form: str | None, out: str | None, delimiter: str | None, decimal: str | None
) -> None:
    """Print the results in the order of the input, also before the end; with --json an object a line."""
    usual = "ndjson" if output.json else _format_of(out)
    chosen = {"format": form or usual, "delimiter": delimiter, "decimal": decimal}
    with open_client(output) as client:
        _write(output, client.tables.results(name, {key: value for key, value in chosen.items() if value}), out)


@table.command()
@click.argument("name", metavar="ID")
@click.option("--row", "rows", type=int, multiple=True, help="This row only; repeatable.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation, although it costs tokens.")
@json_option
@pass_output
def retry(output: Output, name: str, rows: tuple[int, ...], yes: bool) -> None:
    """Run the failed rows again, or those with --row. It costs tokens; a new callback follows."""
    with open_client(output) as client:
        if not yes:
            which = f"{len(rows)} rows" if rows else f"{client.tables.show(name)['failed']} failed rows"
            if not sys.stdin.isatty():
                raise Conflict("A retry costs tokens: confirm it with --yes.")
            click.confirm(f"Run {which} of {name} again? This costs tokens.", abort=True, err=True)
        _print(output, client.tables.retry(name, list(rows) or None))


@table.command()
@click.argument("name", metavar="ID")
@json_option
@pass_output
def cancel(output: Output, name: str) -> None:
    """Stop every row, even while it runs; one callback follows."""
    with open_client(output) as client:
        _print(output, client.tables.cancel(name))


@table.command()
@click.argument("name", metavar="ID")
@json_option
@pass_output
def close(output: Output, name: str) -> None:
    """End the intake of rows of an open collection."""
    with open_client(output) as client:
        _print(output, client.tables.close(name))


@table.command()
@click.argument("name", metavar="ID")
@click.option("--to", metavar="URL", help="Deliver to this URL instead.")
@json_option
@pass_output
def redeliver(output: Output, name: str, to: str | None) -> None:
    """Send the stored callback again, without cost."""
    with open_client(output) as client:
        _print(output, client.tables.redeliver(name, to))


@table.command("list")
@click.option("--limit", type=int, default=50, show_default=True, help="At most so many.")
@json_option
@pass_output
def list_(output: Output, limit: int) -> None:
    """List collections, newest first."""
    with open_client(output) as client:
        rows = client.tables.list(limit)
    if output.json:
        for row in rows:
            output.record(row)
        return
    output.table(_TITLES, (_cells(row) for row in rows))


def _body(options: dict[str, Any]) -> dict[str, Any]:
    template: Any = options["template"]
    if options["prompt"]:
        template = {"prompt": options["prompt"]}
        if options["model"]:
            template["options"] = {"model": options["model"]}
    fields = {
        "collectionId": options["collection_id"],
        "template": template,
        "mode": options["mode"],
        "group": options["group"],
        "webhookUrl": options["webhook"],
        "maxCostUsd": options["max_cost"],
        "onInvalid": options["on_invalid"],
    }
    return {name: value for name, value in fields.items() if value is not None}


def _send(output: Output, tables: TableClient, body: dict[str, Any], source: Rows) -> str:
    """Send the rows, in pieces where one request cannot take them; the same command again goes on where it ended."""
    if source.whole:
        accepted = tables.create({**body, "rows": list(source.rows)})
    else:
        accepted = _send_pieces(output, tables, body, source)
    for warning in accepted.get("warnings", ()):
        output.message(f"warning: {warning}")

    return str(accepted["collectionId"])


def _send_pieces(output: Output, tables: TableClient, body: dict[str, Any], source: Rows) -> dict[str, Any]:
    """Send the rows piece by piece. One that is refused ends the collection: no half of a table is run."""
    digest = hashlib.sha256(json.dumps([body, source.key], sort_keys=True).encode()).hexdigest()[:12]
    stem = "".join(char if char.isascii() and char.isalnum() else "-" for char in source.stem)[:60].strip("-")
    name = body.get("collectionId") or f"{stem or 'table'}-{digest}"
    pieces = source.pieces()
    first = next(pieces)
    accepted = tables.create({**body, "collectionId": name, "rows": first, "open": True})
    sent = len(first)
    output.message(f"{name}: {sent} rows sent")
    try:
        for number, piece in enumerate(pieces, 1):
            accepted = tables.add_rows(name, piece, key=f"piece-{number}")
            sent += len(piece)
            output.message(f"{name}: {sent} rows sent")
    except (InvalidRequest, TooLarge):
        with contextlib.suppress(RelayError):
            tables.cancel(name)
            output.message(f"{name}: a row was refused, so the {sent} rows before it were cancelled")
        raise
    tables.close(name, key="end")

    return accepted


def _dry_run(output: Output, client: RelayClient, body: dict[str, Any], source: Rows) -> int:
    count = sum(len(piece) for piece in source.pieces())
    first = source.rows[0]
    template = body["template"]
    shape = client.template(template)["body"] if isinstance(template, str) else template
    variables, _ = read_variables(first, at="rows[0]")
    filled = Compiled(shape).fill(variables, limit=2**25)
    if filled.missing:
        names = [Problem(field=f"rows[0].{name}", problem="is missing: no column has it") for name in filled.missing]
        raise InvalidRequest(problems=names)
    output.value({**body, "rows": count, "first": filled.body})
    estimate = client.estimate(filled.body)
    if (cost := estimate["costUsd"]) is not None:
        output.message(
            f"estimate: {count} rows like the first cost ${cost['low'] * count:.4f} to ${cost['high'] * count:.4f}"
        )

    return 0


def _await(output: Output, tables: TableClient, name: str, seconds: float, out: str | None) -> int:
    give_up = time.monotonic() + seconds
    line, reason = ProgressLine(plain=output.plain), None
    try:
        while (now := tables.show(name))["status"] not in _ENDED:
            if now.get("waitingFor") != reason and (reason := now.get("waitingFor")):
                line.end()
                _explain(output, now)
            line.update(now)
            if time.monotonic() > give_up:
                output.message(f"Not ended within the time; it continues: claude-relay table status {name}")
                return 124
            time.sleep(_POLL)
    finally:
        line.end()
    if output.json and not out:
        output.value(now)
    else:
        _write(output, tables.results(name, {"format": _format_of(out)}), out)
    wrong = f", {now['checksFailed']} with failed checks" if now.get("checksFailed") else ""
    output.message(f"{name}: {now['completed']} completed{wrong}, {now['failed']} failed, ${now['costUsd'] or 0:.4f}")

    return 0 if now["status"] == "completed" else 5


def _write(output: Output, pieces: Iterator[bytes], out: str | None) -> None:
    if out is None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a piece may end inside a character
        for piece in pieces:
            output.write(decoder.decode(piece))
        return
    write_file(Path(out), pieces, field="--out")


def _format_of(out: str | None) -> str:
    suffix = Path(out).suffix.lower().removeprefix(".") if out else ""

    return {"jsonl": "ndjson"}.get(suffix, suffix) if suffix in ("json", "ndjson", "jsonl") else "csv"


_TITLES = ("ID", "STATUS", "TOTAL", "DONE", "FAILED", "PENDING", "USD", "CALLBACK", "CREATED")


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["collectionId"],
        row["status"],
        row["total"],
        row["completed"],
        row["failed"],
        row["pending"] + row["processing"],
        row["costUsd"],
        row["delivery"]["status"],
        row["createdAt"],
    )


def _print(output: Output, body: dict[str, Any]) -> None:
    if output.json:
        output.value(body)
    else:
        output.table(_TITLES, [_cells(body)])
        _explain(output, body)


def _explain(output: Output, body: dict[str, Any]) -> None:
    """Say why none of its rows runs."""
    if reason := body.get("waitingFor"):
        output.message(f"{body['collectionId']} waits: {reason}")


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise click.UsageError(f"--timeout {exc}") from exc
