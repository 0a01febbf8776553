"""`submit`: a prompt from arguments, stdin, a file or a complete body; on request also its answer."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ...core.text import strict_json
from ...core.text.durations import parse_duration
from ...errors import InvalidRequest
from ..client import RelayClient, open_client
from ..input_files import InputFile, check_arguments, decode_text, file_name, read_bytes, read_stdin, read_text
from ..render.output import Output, json_option, pass_output
from ..render.result import code_block, print_answer, usage_line, wait_for_delivery
from ..render.text import TextPrinter
from ..render.waiting import WaitingNotice
from .cost import dollars

#: Options that name files.
_FILES = ("file", "body_file", "schema", "jsonl", "attach")
#: Jobs in one request.
_BULK = 1_000


@click.command()
@click.argument("text", nargs=-1)
@click.option("-f", "--file", "file", type=InputFile(), help="Read the prompt from a file.")
@click.option("--from-json", "body_file", type=InputFile(), help="A complete request body, as for POST /api/claude.")
@click.option(
    "-a", "--attach", multiple=True, metavar="FILE|URL|-", help="Attach a PDF or image (- is stdin); repeatable."
)
@click.option("-s", "--system", help="The system prompt.")
@click.option("-m", "--model", help="A model id, or smart, fast, cheap.")
@click.option(
    "-o", "--option", "options", multiple=True, nargs=2, metavar="KEY VALUE", help="Any of options.*; repeatable."
)
@click.option("--schema", type=InputFile(), help="A JSON Schema: the answer is JSON that matches it.")
@click.option("-t", "--template", metavar="NAME", help="A saved template, or one version of it as NAME@3.")
@click.option(
    "-v", "--variable", "variables", multiple=True, nargs=2, metavar="KEY VALUE", help="Fill a placeholder; repeatable."
)
@click.option("--webhook", metavar="URL", help="URL to deliver the answer to.")
@click.option("--id", "request_id", metavar="ID", help="The requestId; a repeated one never runs twice.")
@click.option("--mode", help="live, batch or auto.")
@click.option("--need-by", metavar="TIME", help="Deadline for the answer: a time, or 2h.")
@click.option("--continue", "previous", metavar="ID", help="Continue the conversation of that job.")
@click.option("--group", help="Group, whose jobs share a concurrency, a rate and a pause.")
@click.option("--meta", multiple=True, metavar="K=V", help="Metadata, returned in status and callback; repeatable.")
@click.option("--jsonl", type=InputFile(), help="Submit many jobs: one request body per line.")
@click.option(
    "--dry-run", is_flag=True, help="Print the request body without sending it; with -u also an estimate of its cost."
)
@click.option("--wait", is_flag=True, help="Wait for the answer and print only that.")
@click.option("--timeout", default="30m", show_default=True, help="Maximum time to wait.")
@click.option("--stream", is_flag=True, help="Print the answer as it is written.")
@click.option("-x", "--extract", is_flag=True, help="Print only the first code block.")
@click.option("-u", "--usage", is_flag=True, help="Print tokens and cost on stderr.")
@json_option
@click.pass_context
@pass_output
def submit(
    output: Output,
    ctx: click.Context,
    /,
    text: tuple[str, ...],
    jsonl: str | None,
    dry_run: bool,
    wait: bool,
    timeout: str,
    stream: bool,
    extract: bool,
    usage: bool,
    **options: Any,
) -> int:
    """
    Submit a prompt; prints its requestId, or with --wait only the answer.

    TEXT is the prompt; - reads stdin, and so does a call in a pipe without text, file or body. Text from stdin comes
    before TEXT.
    """
    seconds = _seconds(timeout)
    if jsonl is not None:
        return _submit_many(output, jsonl, dry_run=dry_run)
    body = _body(ctx, text, **options)
    if dry_run:
        output.value(body)
        if usage:
            with open_client(output) as client:
                _print_estimate(output, client.estimate(body))
        return 0
    with open_client(output) as client:
        accepted = client.submit(body)
        for warning in accepted.get("warnings", ()):
            output.message(f"warning: {warning}")
        if not (wait or stream):
            output.value(accepted) if output.json else output.line(accepted["requestId"])
            return 0

        return _await_answer(
            output, client, accepted["requestId"], seconds, stream=stream, extract=extract, usage=usage
        )


def _print_estimate(output: Output, estimate: dict[str, Any]) -> None:
    tokens, cost = estimate["inputTokensRange"], estimate["costUsd"]
    price = "unknown" if cost is None else f"${dollars(cost['low'])} to ${dollars(cost['high'])}"
    output.message(
        f"estimate for {estimate['model']}: {estimate['inputTokens']} tokens in ({tokens['low']} to {tokens['high']}), "
        f"up to {estimate['maxOutputTokens']} out; cost {price}"
    )
    for warning in estimate["warnings"]:
        output.message(f"warning: {warning}")


def _await_answer(
    output: Output, client: RelayClient, request_id: str, seconds: float, *, stream: bool, extract: bool, usage: bool
) -> int:
    output.message(f"{request_id} accepted; waiting for the answer.") if output.verbose else None
    give_up = time.monotonic() + seconds
    text, notice = TextPrinter(output), WaitingNotice(output, client)
    notice.wait_for_start(request_id, give_up)
    for message in client.follow(request_id, until=give_up):
        if message.name == "text" and stream and not output.json:
            text.print(message.data)
    status = client.status(request_id)
    if status["status"] not in ("completed", "failed"):
        output.message(f"No answer within the time; the job continues: claude-relay wait {request_id}")
        return 124

    body = json.loads(client.result(request_id) or b"{}")
    if stream and not output.json and body.get("status") == "completed":
        text.print_rest(body["response"])
        code = 0
    else:
        code = print_answer(output, body, narrow=code_block if extract else None)
    if usage:
        output.message(usage_line(body))
    if code == 0 and status["delivery"]["status"] not in ("none", "delivered"):
        return wait_for_delivery(output, client, request_id, within=min(30.0, max(1.0, give_up - time.monotonic())))

    return code


def _submit_many(output: Output, file: str, *, dry_run: bool) -> int:
    lines = enumerate(read_bytes(file, field="--jsonl").splitlines(), 1)
    bodies = [_parse_json(line, f"--jsonl {file}", number) for number, line in lines if line.strip()]
    if dry_run:
        for body in bodies:
            output.record(body)
        return 0
    worst = 0
    with open_client(output) as client:
        for start in range(0, len(bodies), _BULK):
            for verdict in client.submit_many(bodies[start : start + _BULK]):
                worst = max(worst, _print_verdict(output, start, verdict))

    return worst


def _print_verdict(output: Output, start: int, verdict: dict[str, Any]) -> int:
    line = start + verdict["index"] + 1
    if output.json:
        output.record({**verdict, "index": line - 1})
    elif verdict["statusCode"] == 202:
        output.line(verdict["requestId"])
        for warning in verdict.get("warnings") or ():
            output.message(f"line {line}: warning: {warning}")
    else:
        output.message(f"line {line}: {verdict['error']}")

    return 0 if verdict["statusCode"] == 202 else 65


def _read_json(path: str, option: str) -> object:
    """The content of an option's file."""
    return _parse_json(read_bytes(path, field=option), f"{option} {path}")


def _parse_json(content: bytes, name: str, line: int = 1) -> object:
    try:
        return strict_json.loads(content, line=line)
    except InvalidRequest as exc:
        raise InvalidRequest(problems=[replace(each, field=name) for each in exc.problems]) from None


def _body(ctx: click.Context, text: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """The request body: that of --from-json, changed by the other options."""
    _check_arguments(text, options)
    body: dict[str, Any] = {}
    if options["body_file"] is not None:
        loaded = _read_json(options["body_file"], "--from-json")
        if not isinstance(loaded, dict):
            raise InvalidRequest.at("--from-json", "must hold a JSON object")
        body = loaded
    if options["template"]:
        body["template"] = options["template"]
    if options["variables"]:
        body["variables"] = {**(body.get("variables") or {}), **dict(options["variables"])}
    stdin_taken = "-" in (options["body_file"], options["schema"], options["file"], *options["attach"])
    if prompt := _prompt(ctx, text, options["file"], has_body=bool(body), stdin_taken=stdin_taken):
        body["prompt"] = prompt
    fields = {
        "webhookUrl": options["webhook"],
        "requestId": options["request_id"],
        "mode": options["mode"],
        "needBy": options["need_by"],
        "group": options["group"],
        "continueFrom": options["previous"],
    }
    body.update({name: value for name, value in fields.items() if value})
    body_options = dict(body.get("options") or {})
    body_options.update({key: _value(value) for key, value in options["options"]})
    body_options.update(
        {name: value for name, value in (("systemPrompt", options["system"]), ("model", options["model"])) if value}
    )
    if options["schema"] is not None:
        body_options["outputSchema"] = _read_json(options["schema"], "--schema")
    if body_options:
        body["options"] = body_options
    if options["meta"]:
        body["metadata"] = {**(body.get("metadata") or {}), **dict(_pair(pair) for pair in options["meta"])}
    if options["attach"]:
        body["files"] = [*(body.get("files") or ()), *map(_attachment, options["attach"])]

    return body


def _check_arguments(text: Sequence[str], options: dict[str, Any]) -> None:
    given = [("TEXT", word) for word in text]
    for name, value in options.items():
        if name in _FILES:  # a name may have any bytes
            continue
        values = value if isinstance(value, tuple) else (value,)
        given += [(f"--{name}", each) for item in values for each in (item if isinstance(item, tuple) else (item,))]
    check_arguments(given)


def _prompt(ctx: click.Context, text: Sequence[str], file: str | None, *, has_body: bool, stdin_taken: bool) -> str:
    words = [word for word in text if word != "-"]
    piped = ""
    if stdin_taken:
        if "-" in text:
            raise click.UsageError("stdin (-) can be read once: name a file for the other.", ctx)
        if not (words or file or has_body):
            raise click.UsageError("There is no prompt: give TEXT or -f FILE; stdin is the attached file.", ctx)
    elif "-" in text or not (words or file or has_body):
        if sys.stdin.isatty():
            if "-" not in text:
                # Nothing to read and no pipe: print the usage rather than hang.
                raise click.UsageError(
                    "There is no prompt: give TEXT, -f FILE or --from-json FILE, or pipe it in.", ctx
                )
            click.echo("Type the prompt, then Ctrl-D.", err=True)
        piped = _piped()
    elif not sys.stdin.isatty() and words and not (file or has_body) and _has_input():
        piped = _piped()
    argument = " ".join(words).removeprefix("\ufeff")

    return "\n\n".join(part for part in (piped, read_text(file, field="--file") if file else "", argument) if part)


def _piped() -> str:
    return decode_text(read_stdin(), "-", field="prompt").strip("\n")


def _has_input() -> bool:
    """Whether stdin has input: a script's stdin that stays open must not block a call that has its prompt."""
    import select
    import stat

    try:
        mode = Path("/dev/stdin").stat().st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        return True

    return stat.S_ISFIFO(mode) and bool(select.select([sys.stdin], [], [], 0.05)[0])


def _value(text: str) -> Any:
    """The value as JSON if it is valid JSON, otherwise as a string: `-o maxTokens 100`, `-o effort low`."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _pair(text: str) -> tuple[str, str]:
    key, mark, value = text.partition("=")
    if not mark or not key:
        raise click.UsageError(f"--meta takes K=V, not {text!r}")

    return key, value


def _attachment(source: str) -> dict[str, Any]:
    if source.startswith(("http://", "https://")):
        check_arguments([("--attach", source)])
        return {"url": source}
    data = base64.b64encode(read_bytes(source, field="--attach")).decode()
    name = file_name(source)

    return {"data": data, "name": name} if name else {"data": data}


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise click.UsageError(f"--timeout {exc}") from exc
