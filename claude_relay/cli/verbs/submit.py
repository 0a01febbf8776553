"""`submit`: a prompt from arguments, stdin, a file or a whole body; and, if asked, its answer."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import click

from ...core.text import strict_json
from ...core.text.durations import parse_duration
from ...errors import InvalidRequest, Problem
from ..client import RelayClient, open_client
from ..render.output import Output, json_option, pass_output
from ..render.result import code_block, print_answer, usage_line, wait_for_delivery
from .cost import dollars

_BULK = 1_000


@click.command()
@click.argument("text", nargs=-1)
@click.option("-f", "--file", "file", type=click.File("r", encoding="utf-8"), help="The prompt, from a file.")
@click.option("--from-json", "whole", type=click.File("rb"), help="A whole request body, as POST /api/claude takes it.")
@click.option("-a", "--attach", multiple=True, metavar="FILE|URL", help="Attach a PDF or image; repeatable.")
@click.option("-s", "--system", help="The system prompt.")
@click.option("-m", "--model", help="A model id, or smart, fast, cheap.")
@click.option(
    "-o", "--option", "options", multiple=True, nargs=2, metavar="KEY VALUE", help="Any of options.*; repeatable."
)
@click.option("--schema", type=click.File("rb"), help="A JSON Schema: the answer is JSON that fits it.")
@click.option("--webhook", metavar="URL", help="Where the answer goes.")
@click.option("--id", "request_id", metavar="ID", help="The requestId; the same one again never runs twice.")
@click.option("--mode", help="live, batch or auto.")
@click.option("--need-by", metavar="TIME", help="When it is needed: a time, or 2h.")
@click.option("--continue", "earlier", metavar="ID", help="Go on from that job: its turns and its answer come first.")
@click.option("--group", help="Shares a concurrency, a rate and a pause.")
@click.option("--meta", multiple=True, metavar="K=V", help="Echoed in status and callback; repeatable.")
@click.option("--jsonl", type=click.File("rb"), help="Many at once: one request body a line.")
@click.option(
    "--dry-run", is_flag=True, help="Print the body that would be sent, and send nothing; -u: also what it would cost."
)
@click.option("--wait", is_flag=True, help="Wait for the answer and print it alone.")
@click.option("--timeout", default="30m", show_default=True, help="How long to wait.")
@click.option("--stream", is_flag=True, help="Print the answer as it is written.")
@click.option("-x", "--extract", is_flag=True, help="Of the answer only its first code block.")
@click.option("-u", "--usage", is_flag=True, help="Tokens and cost, on stderr.")
@json_option
@click.pass_context
@pass_output
def submit(
    output: Output,
    ctx: click.Context,
    text: tuple[str, ...],
    jsonl: IO[bytes] | None,
    dry_run: bool,
    wait: bool,
    timeout: str,
    stream: bool,
    extract: bool,
    usage: bool,
    **given: Any,
) -> int:
    """
    Hand in a prompt; prints its requestId, or with --wait the answer alone.

    TEXT is the prompt; - reads stdin, and so does a call without text, file or body in a pipe. Text on stdin comes
    before TEXT.
    """
    seconds = _seconds(timeout)
    if jsonl is not None:
        return _many(output, jsonl, dry_run=dry_run)
    body = _body(ctx, text, **given)
    if dry_run:
        output.value(body)
        if usage:
            with open_client(output) as desk:
                _foretell(output, desk.estimate(body))
        return 0
    with open_client(output) as desk:
        accepted = desk.submit(body)
        for warning in accepted.get("warnings", ()):
            output.message(f"warning: {warning}")
        if not (wait or stream):
            output.value(accepted) if output.json else output.line(accepted["requestId"])
            return 0

        return _answer(output, desk, accepted["requestId"], seconds, stream=stream, extract=extract, usage=usage)


def _foretell(output: Output, told: dict[str, Any]) -> None:
    span, cost = told["inputTokensRange"], told["costUsd"]
    price = "unknown" if cost is None else f"${dollars(cost['low'])} to ${dollars(cost['high'])}"
    output.message(
        f"estimate for {told['model']}: {told['inputTokens']} tokens in ({span['low']} to {span['high']}), up to "
        f"{told['maxOutputTokens']} out; cost {price}"
    )
    for warning in told["warnings"]:
        output.message(f"warning: {warning}")


def _answer(
    output: Output, desk: RelayClient, request_id: str, seconds: float, *, stream: bool, extract: bool, usage: bool
) -> int:
    output.message(f"{request_id} accepted; waiting for the answer.") if output.verbose else None
    give_up = time.monotonic() + seconds
    shown = 0
    while (status := desk.status(request_id))["status"] not in ("completed", "failed"):
        if time.monotonic() > give_up:
            output.message(f"No answer within the time; the job goes on: claude-relay wait {request_id}")
            return 124
        if stream and not output.json:
            partial = desk.record(request_id).get("partialResponse") or ""
            output.write(partial[shown:])
            shown = max(shown, len(partial))
        time.sleep(0.1)

    body = json.loads(desk.result(request_id) or b"{}")
    if stream and not output.json and body.get("status") == "completed":
        rest = body["response"][shown:]
        output.write(rest if rest.endswith("\n") else rest + "\n")
        code = 0
    else:
        code = print_answer(output, body, narrow=code_block if extract else None)
    if usage:
        output.message(usage_line(body))
    if code == 0 and status["delivery"]["status"] not in ("none", "delivered"):
        return wait_for_delivery(output, desk, request_id, within=min(30.0, max(1.0, give_up - time.monotonic())))

    return code


def _many(output: Output, file: IO[bytes], *, dry_run: bool) -> int:
    bodies = [strict_json.loads(line) for line in file.read().splitlines() if line.strip()]
    if dry_run:
        for body in bodies:
            output.record(body)
        return 0
    worst = 0
    with open_client(output) as desk:
        for start in range(0, len(bodies), _BULK):
            for verdict in desk.submit_many(bodies[start : start + _BULK]):
                worst = max(worst, _verdict(output, start, verdict))

    return worst


def _verdict(output: Output, start: int, verdict: dict[str, Any]) -> int:
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


def _body(ctx: click.Context, text: tuple[str, ...], **given: Any) -> dict[str, Any]:
    """The request body, from all that was given; what is absent leaves what --from-json says."""
    whole: dict[str, Any] = {}
    if given["whole"] is not None:
        loaded = strict_json.loads(given["whole"].read())
        if not isinstance(loaded, dict):
            raise InvalidRequest(problems=[Problem(field="--from-json", problem="must hold a JSON object")])
        whole = loaded
    if prompt := _prompt(ctx, text, given["file"], has_body=bool(whole)):
        whole["prompt"] = prompt
    named = {
        "webhookUrl": given["webhook"],
        "requestId": given["request_id"],
        "mode": given["mode"],
        "needBy": given["need_by"],
        "group": given["group"],
        "continueFrom": given["earlier"],
    }
    whole.update({name: value for name, value in named.items() if value})
    options = dict(whole.get("options") or {})
    options.update({key: _value(value) for key, value in given["options"]})
    options.update(
        {name: value for name, value in (("systemPrompt", given["system"]), ("model", given["model"])) if value}
    )
    if given["schema"] is not None:
        options["outputSchema"] = strict_json.loads(given["schema"].read())
    if options:
        whole["options"] = options
    if given["meta"]:
        whole["metadata"] = {**(whole.get("metadata") or {}), **dict(_pair(pair) for pair in given["meta"])}
    if given["attach"]:
        whole["files"] = [*(whole.get("files") or ()), *map(_attached, given["attach"])]

    return whole


def _prompt(ctx: click.Context, text: Sequence[str], file: IO[str] | None, *, has_body: bool) -> str:
    words = [word for word in text if word != "-"]
    piped = ""
    if "-" in text or not (words or file or has_body):
        if sys.stdin.isatty():
            if "-" not in text:
                # Nothing to read and nobody piping: help, rather than a hang.
                raise click.UsageError(
                    "There is no prompt: give TEXT, -f FILE or --from-json FILE, or pipe it in.", ctx
                )
            click.echo("Type the prompt, then Ctrl-D.", err=True)
        piped = sys.stdin.read()
    elif not sys.stdin.isatty() and words and not (file or has_body) and _readable():
        piped = sys.stdin.read()

    return "\n\n".join(part for part in (piped.strip("\n"), file.read() if file else "", " ".join(words)) if part)


def _readable() -> bool:
    """Whether something is piped in: a script's stdin that stays open must not hang a call that has its text."""
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
    """JSON where it is JSON, else the text: `-o maxTokens 100`, `-o effort low`."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _pair(text: str) -> tuple[str, str]:
    key, mark, value = text.partition("=")
    if not mark or not key:
        raise click.UsageError(f"--meta takes K=V, not {text!r}")

    return key, value


def _attached(source: str) -> dict[str, Any]:
    if source.startswith(("http://", "https://")):
        return {"url": source}
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise InvalidRequest(
            problems=[Problem(field="--attach", problem=f"{source} cannot be read: {exc.strerror}")]
        ) from exc

    return {"data": base64.b64encode(data).decode(), "name": path.name}


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise click.UsageError(f"--timeout {exc}") from exc
