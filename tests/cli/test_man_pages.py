"""Man pages: one for every verb, accepted by man and mandoc without warnings, with the content of --help."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from claude_relay.cli import man_pages
from claude_relay.cli.examples import EXAMPLES
from claude_relay.cli.main import cli
from claude_relay.config import OPTIONS
from tests.support.needs import needs

PAGE = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    man_pages.write(folder)
    return folder


def verbs(command: click.Command, name: str = "claude-relay") -> dict[str, click.Command]:
    """All commands and subcommands, by the name of their page."""
    commands = {name: command}
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for verb in command.list_commands(ctx):
            commands |= verbs(command.get_command(ctx, verb), f"{name}-{verb}")
    return commands


VERBS = verbs(cli)


def verb_of(name: str) -> str:
    """The words after `claude-relay`."""
    return name.removeprefix("claude-relay").replace("-", " ").strip()


def shown(page: Path) -> str:
    """The page as man shows it, on one line."""
    done = subprocess.run(
        [needs("man", "man-db"), "--warnings", "-l", str(page)],
        env={"PATH": "/usr/bin:/bin", "MANPAGER": "cat", "MANWIDTH": "200", "LC_ALL": "C.UTF-8", "MANROFFOPT": "-c"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return " ".join(re.sub(r".\x08", "", done.stdout).split())


def test_every_verb_has_its_page(folder):
    assert {path.name for path in folder.iterdir()} == {f"{name}.1" for name in VERBS}


def test_mandoc_has_no_warnings(folder):
    done = subprocess.run(
        [needs("mandoc"), "-T", "lint", "-W", "warning", *sorted(map(str, folder.iterdir()))],
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("name", VERBS)
def test_a_page_names_every_option(folder, name):
    text = shown(folder / f"{name}.1")

    assert f"NAME {name} - " in text
    for param in VERBS[name].params:
        if isinstance(param, click.Option):
            assert all(f"{option}" in text for option in param.opts)


def test_the_page_of_the_program_has_settings_files_and_exit_codes(folder):
    text = shown(folder / "claude-relay.1")

    assert all(f"{row.name} {row.sentence}" in text for row in OPTIONS)
    assert all(path in text for path in man_pages.FILES)
    assert "78 invalid configuration" in text


def test_the_reference_has_the_same_exit_codes():
    table = PAGE.split("## Exit codes")[1].split("##")[0]

    assert {int(code): words for code, words in re.findall(r"\| (\d+) \| ([^|]+?) (?=\|)", table)} == man_pages.EXITS


@pytest.mark.parametrize("text", [".TH at the start", "'quoted", r"a\nb", "--a-b"])
def test_no_text_is_read_as_a_request(text):
    assert man_pages._text(text)[:1] not in (".", "'")
    assert not re.search(r"\\(?![e&-])", man_pages._text(text))


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_examples_that_can_be_typed(folder, name):
    """CASES A19: each command of the section EXAMPLES has words and options that exist."""
    verb = verb_of(name)
    commands = EXAMPLES[verb].values()
    page = (folder / f"{name}.1").read_text()
    assert ".SH EXAMPLES" in page

    for text in commands:
        words = shlex.split(text.removeprefix("sudo "))
        assert words[0] == "claude-relay" and words[1:][: len(verb.split())] == verb.split()
        command, rest = cli, words[1:]
        while isinstance(command, click.Group):
            command, rest = command.get_command(click.Context(command), rest[0]), rest[1:]
        command.make_parser(click.Context(command)).parse_args(rest)


def test_no_example_is_left_over():
    assert set(EXAMPLES) == {verb_of(name) for name in VERBS}


def test_apropos_finds_every_page(folder):
    """CASES A19: the NAME of each page is one that man-db's parser reads."""
    pages = sorted(map(str, folder.iterdir()))
    done = subprocess.run([needs("lexgrog", "man-db"), *pages], capture_output=True, text=True, timeout=100)

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(pages)
