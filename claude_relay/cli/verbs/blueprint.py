"""`blueprint`: scenarios to import into Make.com and n8n, with the URL of this relay filled in."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from ...blueprints import (
    KEY_PLACEHOLDER,
    TEMPLATE_PLACEHOLDER,
    VARIANTS,
    WEBHOOK_PLACEHOLDER,
    Blank,
    Scenario,
    scenarios,
)
from ...core.keys import Scope
from ...core.templates import parse_reference
from ...core.text.ids import GROUP
from ...errors import ConfigError, Conflict, InvalidRequest
from ..output_files import check_writable, write_file
from ..render.output import Output, json_option, pass_output

F = TypeVar("F", bound=Callable[..., Any])

#: By tool; `files` are its scenarios, `key` is the step that only a placeholder needs.
_NEXT_STEPS = {
    "make": (
        "Next, in Make: create a scenario, then ⋯ > Import blueprint. First {receive}: open its webhook module,"
        " create a webhook, copy its URL. Then {submit}: {start}, and paste that URL{key} into"
        " its HTTP module{more}. Switch both on. Step by step: docs/how-to/make-and-n8n.md",
        " and your API key",
    ),
    "n8n": (
        "Next, in n8n: ⋯ > Import from file.{key} If n8n has a private IP address, "
        "the relay needs RELAY_ALLOW_PRIVATE_URLS.",
        " Paste your API key into the Submit node{more}.",
    ),
}
#: How the submitting scenario of Make starts, by variant.
_STARTS = {
    "prompt": "give it a webhook too",
    "sheet": "give it a webhook too",
    "invoice": "choose the account and the folder of its first module, the account of the second",
}

#: An additional reason against a URL without TLS.
_HTTPS_REASON = {"make": "Make requires https, and ", "n8n": ""}


@click.group()
def blueprint() -> None:
    """Write scenarios to import into Make.com or n8n."""


def _common(command: F) -> F:
    options = (
        click.option(
            "--url", metavar="URL", help="URL at which the tool reaches this relay. Default: RELAY_PUBLIC_URL."
        ),
        click.option(
            "--variant",
            type=click.Choice(VARIANTS),
            default="prompt",
            show_default=True,
            help="What goes in: prompts, the PDFs of invoices, or the rows of a sheet.",
        ),
        click.option(
            "--template",
            metavar="NAME",
            help="Template of the invoices or rows (claude-relay template save). Default for invoices: faktura.",
        ),
        click.option("--group", default="default", help="Group of the jobs."),
        click.option("--with-key", is_flag=True, help="Create an API key that may submit and read, and fill it in."),
        click.option("--key-name", metavar="NAME", help="Name of that key. Default: the tool and a random suffix."),
        click.option(
            "-o",
            "--output",
            "target",
            metavar="FOLDER",
            default=".",
            help="Folder for the files; - writes to stdout, one JSON object per line.",
        ),
        click.option("--force", is_flag=True, help="Replace existing files."),
        json_option,
        pass_output,
    )
    for option in reversed(options):
        command = option(command)

    return command


@blueprint.command()
@click.option("--webhook", metavar="URL", help="URL of the receiving scenario's webhook, if it exists already.")
@_common
def make(output: Output, webhook: str | None, **options: Any) -> None:
    """Write two scenarios for Make.com: one submits; one receives, acknowledges and reports failures."""
    _write(output, "make", webhook=webhook, **options)


@blueprint.command()
@_common
def n8n(output: Output, **options: Any) -> None:
    """Write one workflow for n8n: submit, wait, branch by status, acknowledge."""
    _write(output, "n8n", webhook=None, **options)


def _write(
    output: Output,
    tool: str,
    *,
    url: str | None,
    variant: str,
    template: str | None,
    group: str,
    webhook: str | None,
    with_key: bool,
    key_name: str | None,
    target: str,
    force: bool,
) -> None:
    blank = Blank(
        url=_relay_url(output, url),
        group=_group(group),
        webhook=_webhook(webhook),
        template=_template(template, variant),
    )
    if with_key and output.settings.url:
        raise ConfigError(
            ["--with-key creates a key on the relay's own machine: run it there, without RELAY_URL, or omit it."]
        )
    folder = None if target == "-" else Path(target)
    if folder is not None:
        _prepare(folder, [scenario.file for scenario in scenarios(tool, blank, variant)], force=force)
    if with_key:  # last, after every check: a failed command must not leave a key behind
        key = _new_key(output, key_name or f"{tool}-{secrets.token_hex(3)}")
        blank = replace(blank, key=key)
    written = scenarios(tool, blank, variant)
    for scenario in written:
        _write_scenario(output, scenario, folder, secret=with_key)
    if not output.json:
        _print_next_steps(output, tool, blank, variant, [scenario.file for scenario in written])


def _relay_url(output: Output, url: str | None) -> str:
    from ...config.urls import url as parse_url

    settings = output.settings
    chosen = url or settings.public_url or settings.url
    if not chosen:
        raise click.UsageError(
            "--url is required: the URL at which Make or n8n reaches this relay, such as https://relay.example.com "
            "(or set RELAY_PUBLIC_URL)."
        )
    try:
        return parse_url(chosen).rstrip("/")
    except ValueError as exc:
        raise InvalidRequest.at("--url", str(exc)) from exc


def _group(name: str) -> str:
    if not GROUP.fullmatch(name):
        raise InvalidRequest.at("--group", "must be 1 to 64 letters, digits, dots, dashes or underscores")

    return name


def _webhook(url: str | None) -> str:
    from ...wiring import webhook_url_problem

    if url is None:
        return WEBHOOK_PLACEHOLDER
    if problem := webhook_url_problem(url):
        raise InvalidRequest.at("--webhook", problem)

    return url


def _template(name: str | None, variant: str) -> str:
    if variant == "prompt":
        if name is not None:
            raise click.UsageError("--template belongs to --variant invoice or sheet: a prompt needs none.")
        return TEMPLATE_PLACEHOLDER
    if name is not None and parse_reference(name) is None:
        problem = "must be the name of a template, such as faktura or faktura@3"
        raise InvalidRequest.at("--template", problem)

    return name or ("faktura" if variant == "invoice" else TEMPLATE_PLACEHOLDER)


def _new_key(output: Output, name: str) -> str:
    from ...wiring import open_relay

    with open_relay(output.settings, create=True) as relay:
        _, text = relay.keys.add(name, frozenset((Scope.SUBMIT, Scope.READ)))
    output.message(
        f"Created the key {name} (submit, read) and filled it in; to revoke it: claude-relay keys revoke {name}"
    )

    return text


def _prepare(folder: Path, names: Sequence[str], *, force: bool) -> None:
    """Create the folder; raises `Conflict` or `InvalidRequest` if the files cannot be written there."""
    existing = [str(folder / name) for name in names if (folder / name).exists()]
    if existing and not force:
        raise Conflict(f"{' and '.join(existing)} exist already and were not changed: --force replaces them")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidRequest.at("--output", f"{folder} cannot be created: {exc.strerror}") from exc
    for name in names:
        check_writable(folder / name, field="--output")


def _write_scenario(output: Output, scenario: Scenario, folder: Path | None, *, secret: bool) -> None:
    if folder is None:
        output.record(scenario.content)
        return
    path = folder / scenario.file
    text = json.dumps(scenario.content, ensure_ascii=False, indent=2) + "\n"
    write_file(path, [text.encode()], field="--output", secret=secret)
    if output.json:
        output.record({"file": str(path), "name": scenario.content["name"], "blueprint": scenario.content})
    else:
        output.line(str(path))


def _print_next_steps(output: Output, tool: str, blank: Blank, variant: str, files: Sequence[str]) -> None:
    text, paste_key = _NEXT_STEPS[tool]
    is_blank = blank.key == KEY_PLACEHOLDER
    more = ", and the key into 'Fetch the results'" if variant == "sheet" else ""
    output.message(
        text.format(
            key=paste_key.format(more=more) if is_blank else "",
            more=more if is_blank else "",
            submit=files[0],
            receive=files[-1],
            start=_STARTS.get(variant, ""),
        )
    )
    if variant != "prompt" and blank.template == TEMPLATE_PLACEHOLDER:
        output.message("The name of the template is a placeholder: --template NAME fills it in.")
    elif variant != "prompt":
        output.message(
            f"The relay needs the template {blank.template}. If it is not saved yet: "
            f"claude-relay template save {blank.template} FILE"
        )
    if blank.url.startswith("http://"):
        output.message(f"{blank.url} is not encrypted: {_HTTPS_REASON[tool]}your key is sent in plain text.")
    if is_blank:
        output.message("The key is a placeholder: --with-key creates a key and fills it in.")
