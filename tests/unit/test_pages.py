"""Commands, options, settings, files and API paths in the documentation exist."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from claude_relay.api.app import ROUTES
from claude_relay.claude.schema import schema_problem as schema_fault
from claude_relay.cli.main import VERBS, cli
from claude_relay.config import OPTIONS
from claude_relay.core.intake import parse
from tests.support.intake import NOW, an_intake_context
from tests.test_contract import OPEN_ROUTES, OPEN_VERBS

ROOT = Path(__file__).parents[2]
PATHS = {str(path.relative_to(ROOT)): path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))}
PAGES = {name: path.read_text(encoding="utf-8") for name, path in PATHS.items()}
SETTINGS = {name for row in OPTIONS for name in (row.name, *row.aliases)}

#: With this the program's answers begin; it is no verb.
_OUTPUT = "claude-relay sandbox (not Anthropic):"

#: A command, up to a comment, a pipe or what follows it.
_COMMAND = re.compile(r"(?:^|[|;&$(] *|sudo (?:-\S+ \S+ )*|exec )claude-relay +([a-z][^#|;&<>()]*)")


def commands(page: str) -> Iterator[list[str]]:
    """Every `claude-relay VERB …` in code."""
    fenced = False
    for line in page.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        code = [line] if fenced or line.startswith("    ") else re.findall(r"`([^`]+)`", line)
        for text in (entry for entry in code if entry != _OUTPUT):
            for match in _COMMAND.findall(re.split(r"\s{2,}|←", text.strip())[0]):
                yield shlex.split(match.replace("…", "").replace("[", "").replace("]", "").replace("'", ""))


def fault(words: list[str]) -> str | None:
    """The first part of the command that does not exist."""
    if words[0] in OPEN_VERBS:
        return None
    if words[0] not in VERBS:
        return f"there is no verb {words[0]}"
    context = click.Context(cli)
    command = cli.get_command(context, words[0])
    rest = words[1:]
    if isinstance(command, click.Group) and rest and rest[0].islower() and not rest[0].startswith("-"):
        names = rest.pop(0).split("|")
        if any(command.get_command(context, name) is None for name in names):
            return f"{words[0]} has no {'|'.join(names)}"
        command = command.get_command(context, names[0])
    assert command is not None
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options |= {"--help", "-h"}

    return next(
        (
            f"{words[0]} has no {word}"
            for word in rest
            if word.startswith("-") and word != "-" and word.partition("=")[0] not in options
        ),
        None,
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_its_options_exist(name: str) -> None:
    assert [(words, wrong) for words in commands(PAGES[name]) if (wrong := fault(words))] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_exists(name: str) -> None:
    named = set(re.findall(r"\bRELAY_[A-Z][A-Z_]*[A-Z]\b", PAGES[name]))

    assert {entry for entry in named if entry.removesuffix("_FILE") not in SETTINGS} == set()


@pytest.mark.parametrize("name", PAGES)
def test_every_link_to_a_file_leads_to_one(name: str) -> None:
    folder = PATHS[name].parent
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", PAGES[name])

    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_api_path_exists(name: str) -> None:
    there = {(method, path) for path, methods in ROUTES.items() for method in methods} | OPEN_ROUTES
    shapes = [(method, re.compile(re.sub(r"\\\{\w+\\\}", "[^/ ?`]+", re.escape(path)))) for method, path in there]
    named = re.findall(r"\b(GET|POST) (/(?:api|ack|health|metrics|openapi|dashboard)[\w/{}.-]*)", PAGES[name])

    def path_exists(asked: str, path: str) -> bool:
        return any(asked == method and shape.fullmatch(path) for method, shape in shapes)

    assert [entry for entry in named if not path_exists(*entry)] == []


def test_the_bodies_in_the_guide_are_accepted() -> None:
    """Every field of its examples is known and does what the guide says."""
    guide = PAGES["docs/how-to/make-and-n8n.md"]
    [body] = re.findall(r'^    (\{"prompt": \{\{3\.json\}\}.*?\}\}\}\}\})$', guide, re.M | re.S)
    more = re.findall(r'`?("(?:files|metadata|webhookHeaders)": [^`\n]+?[\]}])(?:`|$)', guide, re.M)
    more = [entry for entry in more if "{{" not in entry]  # those are a template's
    assert len(more) == 4  # the lock's, and again for n8n
    complete = body.replace("{{3.json}}", '"Hei"').replace("…", "x")
    for entry in more:
        text = f"{complete[:-1]}, {entry.replace('…', 'x.example/f')}}}"
        read = parse(json.loads(text), now=NOW, context=an_intake_context(check_schema=schema_fault))
        assert read.warnings == ()
        assert read.request["options"]["maxTokens"] == 8000 and read.group == "faktura"


def test_the_check_reports_faults() -> None:
    assert [fault(words) for words in commands("`claude-relay submitt x`, `claude-relay list --dea`")] == [
        "there is no verb submitt",
        "list has no --dea",
    ]
    assert len(list(commands(PAGES["docs/how-to/make-and-n8n.md"]))) >= 5


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/ARCHITECTURE.md"])
def test_every_module_that_a_page_names_exists(name: str) -> None:
    """`core/keys.py` is looked up in the package, `tests/…` in the checkout; `path.py:name` is defined there."""
    missing = []
    for path, symbol in re.findall(r"`([\w./-]+/[\w.-]+\.py)(?::(\w+))?`", PAGES[name]):
        if "NAME" in path:
            continue
        files = [each for each in (ROOT / path, ROOT / "claude_relay" / path) if each.exists()]
        if not files or (symbol and not re.search(rf"\b{symbol}\b", files[0].read_text(encoding="utf-8"))):
            missing.append(f"{path}:{symbol}")

    assert missing == []


def test_the_receivers_of_the_guide_take_both_bodies() -> None:
    """CASES N14: each example reads an answer and a failure; the one in FastAPI has no field that a failure lacks."""
    page = PAGES["docs/reference/callbacks.md"]
    blocks = re.findall(r"```(?:js|python|php)\n(.*?)```", page, re.S)
    assert [next(name for name in ("Express", "Flask", "FastAPI", "PHP") if name in block) for block in blocks] == [
        "Express",
        "Flask",
        "FastAPI",
        "PHP",
    ]
    for block in blocks:
        assert "response" in block and "error" in block
        assert re.search(r"5mb|5 \* 1024 \* 1024|5m", block)
    required = set(re.findall(r"^    (\w+): (?!.*None)", blocks[2], re.M))
    assert required == {"requestId", "status"}  # all that both bodies have
