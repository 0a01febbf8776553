"""`blueprint`: scenarios to import into Make.com and n8n, with this relay's address filled in."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from ...blueprints import KEY_PLACEHOLDER, WEBHOOK_PLACEHOLDER, Blank, Scenario, scenarios
from ...core.keys import Scope
from ...core.text.ids import GROUP
from ...errors import ConfigError, Conflict, InvalidRequest, Problem
from ..render.output import Output, json_option, pass_output

F = TypeVar("F", bound=Callable[..., Any])

_NEXT = {
    "make": (
        "Next, in Make: create a scenario, then ⋯ > Import blueprint. First make-receive.json: open its webhook module,"
        " create a webhook, copy its address. Then make-submit.json: give it a webhook too, and paste that address and "
        "your API key into its HTTP module. Switch both on. Step by step: docs/how-to/make-and-n8n.md"
    ),
    "n8n": (
        "Next, in n8n: ⋯ > Import from file. Paste your API key into the Submit node. Where n8n has a private address, "
        "the relay needs RELAY_ALLOW_PRIVATE_URLS."
    ),
}

#: Why an address without TLS will not do.
_ASKS = {"make": "Make asks for https, and ", "n8n": ""}


@click.group()
def blueprint() -> None:
    """Importable scenarios for Make.com and n8n, filled in."""


def _common(command: F) -> F:
    options = (
        click.option("--url", metavar="URL", help="Where the tool reaches this relay. Default: RELAY_PUBLIC_URL."),
        click.option("--group", default="default", help="The group that its jobs belong to."),
        click.option("--with-key", is_flag=True, help="Make a submit-only key for it, and fill it in."),
        click.option("--key-name", metavar="NAME", help="What that key is called; the default says the tool."),
        click.option(
            "-o",
            "--output",
            "target",
            metavar="FOLDER",
            default=".",
            help="Where to write the files; - writes to stdout, one JSON object a line.",
        ),
        click.option("--force", is_flag=True, help="Replace files that are there."),
        json_option,
        pass_output,
    )
    for option in reversed(options):
        command = option(command)

    return command


@blueprint.command()
@click.option("--webhook", metavar="URL", help="The address of the receiving scenario's webhook, if you have it yet.")
@_common
def make(output: Output, webhook: str | None, **given: Any) -> None:
    """Write two scenarios for Make.com: one submits, one receives, acknowledges and tells of failures."""
    _write(output, "make", webhook=webhook, **given)


@blueprint.command()
@_common
def n8n(output: Output, **given: Any) -> None:
    """Write one workflow for n8n: submit, wait, go on by the status, acknowledge."""
    _write(output, "n8n", webhook=None, **given)


def _write(
    output: Output,
    tool: str,
    *,
    url: str | None,
    group: str,
    webhook: str | None,
    with_key: bool,
    key_name: str | None,
    target: str,
    force: bool,
) -> None:
    blank = Blank(url=_address(output, url), group=_group(group), webhook=_webhook(webhook))
    folder = None if target == "-" else Path(target)
    if folder is not None and not force:
        _refuse_to_replace(folder, [one.file for one in scenarios(tool, blank)])
    if with_key:  # last, when nothing else can go wrong: a key is not made for nothing
        key = _new_key(output, key_name or f"{tool}-{secrets.token_hex(3)}")
        blank = Blank(url=blank.url, group=blank.group, webhook=blank.webhook, key=key)
    for one in scenarios(tool, blank):
        _put(output, one, folder, secret=with_key)
    if not output.json:
        _say_what_is_left(output, tool, blank)


def _address(output: Output, url: str | None) -> str:
    from ...config.urls import url as parsed

    settings = output.settings
    chosen = url or settings.public_url or settings.url
    if not chosen:
        raise click.UsageError(
            "--url is needed: the address where Make or n8n reaches this relay, such as https://relay.example.com "
            "(or set RELAY_PUBLIC_URL)."
        )
    try:
        return parsed(chosen).rstrip("/")
    except ValueError as exc:
        raise InvalidRequest(problems=[Problem(field="--url", problem=str(exc))]) from exc


def _group(name: str) -> str:
    if not GROUP.fullmatch(name):
        raise InvalidRequest(
            problems=[Problem(field="--group", problem="must be 1 to 64 letters, digits, dots, dashes or underscores")]
        )

    return name


def _webhook(url: str | None) -> str:
    from ...core.intake.webhook import url_problem

    if url is None:
        return WEBHOOK_PLACEHOLDER
    if problem := url_problem(url):
        raise InvalidRequest(problems=[Problem(field="--webhook", problem=problem)])

    return url


def _new_key(output: Output, name: str) -> str:
    from ...wiring import open_relay

    if output.settings.url:
        raise ConfigError(
            ["--with-key makes a key on the relay's own machine: run it there, without RELAY_URL, or leave it out."]
        )
    with open_relay(output.settings, create=True) as relay:
        _, text = relay.keys.add(name, frozenset((Scope.SUBMIT,)))
    output.message(
        f"A submit-only key named {name} was made and filled in: claude-relay keys revoke {name} takes it back."
    )

    return text


def _refuse_to_replace(folder: Path, names: Sequence[str]) -> None:
    there = [str(folder / name) for name in names if (folder / name).exists()]
    if there:
        raise Conflict(f"{' and '.join(there)} exist already and were left as they are: --force replaces them")


def _put(output: Output, one: Scenario, folder: Path | None, *, secret: bool) -> None:
    if folder is None:
        output.record(one.content)
        return
    path = folder / one.file
    text = json.dumps(one.content, ensure_ascii=False, indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644), "w") as file:
            file.write(text)
    except OSError as exc:
        raise InvalidRequest(
            problems=[Problem(field="--output", problem=f"{path} cannot be written: {exc.strerror}")]
        ) from exc
    if output.json:
        output.record({"file": str(path), "name": one.content["name"], "blueprint": one.content})
    else:
        output.line(str(path))


def _say_what_is_left(output: Output, tool: str, blank: Blank) -> None:
    output.message(_NEXT[tool])
    if blank.url.startswith("http://"):
        output.message(f"{blank.url} is not encrypted: {_ASKS[tool]}your key travels in the open.")
    if blank.key == KEY_PLACEHOLDER:
        output.message("The key is a placeholder: --with-key makes a submit-only one and fills it in.")
