"""
Entry point of the command line: the verbs, and the exit code of each error.

The module of a verb is imported when it runs or shows its help; a verb imports heavy modules when it needs them.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence

import click

from .. import __version__
from ..errors import ConfigError, InvalidRequest, Problem, RelayError
from .render.output import Output, PipeClosed, clean
from .summaries import SUMMARIES

#: The module of each verb, in the order of the help; the command in it has the name of the verb.
VERBS = {
    "serve": "verbs.daemons",
    "worker": "verbs.daemons",
    "demo": "verbs.demo",
    "submit": "verbs.submit",
    "template": "verbs.template",
    "table": "verbs.table",
    "status": "verbs.status",
    "result": "verbs.result",
    "wait": "verbs.result",
    "list": "verbs.list_jobs",
    "search": "verbs.list_jobs",
    "tail": "verbs.tail",
    "why": "verbs.why",
    "cost": "verbs.cost",
    "retry": "verbs.job_actions",
    "redeliver": "verbs.job_actions",
    "cancel": "verbs.job_actions",
    "pause": "verbs.queue_control",
    "drain": "verbs.queue_control",
    "resume": "verbs.queue_control",
    "listen": "verbs.listen",
    "blueprint": "verbs.blueprint",
    "doctor": "doctor",
    "alerts": "verbs.daemons",
    "keys": "verbs.keys",
    "backup": "verbs.backup",
    "restore": "verbs.backup",
    "purge": "verbs.daemons",
    "migrate": "verbs.daemons",
    "config": "verbs.configure",
    "completion": "verbs.completion",
    "openapi": "verbs.openapi",
}


#: Set by a shell that asks for completions.
_COMPLETING = "_CLAUDE_RELAY_COMPLETE"

#: A full disk, a quota, a limit of file sizes, a broken device: of stdout or a file, as a store has errors of its own.
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: Problems that are shown to a person: a file of another kind has one in each line.
_MOST_LINES = 20


class Verbs(click.Group):
    """A group that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of a job's life rather than the alphabet."""
        return list(VERBS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them."""
        room = formatter.width - 6 - max(len(name) for name in SUMMARIES)
        rows = [(name, click.Command(name, help=text).get_short_help_str(room)) for name, text in SUMMARIES.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a verb; None for an unknown verb."""
        if (name := VERBS.get(cmd_name)) is None:
            from ..core.text.suggestions import suggest

            if (meant := suggest(cmd_name, VERBS)) is not None:
                ctx.fail(f"No such command {cmd_name!r}. Did you mean {meant!r}?")
            return None
        module = importlib.import_module(f".{name}", __package__)
        command: click.Command = getattr(module, f"{cmd_name}_" if cmd_name == "list" else cmd_name)
        if _COMPLETING in os.environ:
            from .completion_values import add_completions

            add_completions(command, cmd_name)

        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="claude-relay", message="%(prog)s %(version)s")
@click.option("--url", metavar="URL", help="Use the relay at this URL instead of this machine's (RELAY_URL).")
@click.option("--owner", metavar="NAME", help="The owner of the job, where several owners use the same requestId.")
@click.option("--no-color", is_flag=True, help="Print without colour (also: NO_COLOR).")
@click.option("-v", "--verbose", is_flag=True, help="Print more on stderr, and the traceback of an unexpected error.")
@click.pass_obj
def cli(output: Output, url: str | None, owner: str | None, no_color: bool, verbose: bool) -> None:
    """
    Take prompts for Claude, store them, make the calls and deliver the answers to webhooks.

    Without --url the verbs use the store of this machine. Exit codes: 0 done, 2 usage, 3 not found, 4 key refused,
    5 the job failed, 6 not delivered, 9 nothing to do or conflict, 65 bad input, 69 unreachable, 75 try again later,
    78 configuration, 124 timed out, 130 interrupted.
    """
    output.url, output.owner, output.verbose = url, owner, verbose
    output.plain = output.plain or no_color


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    _prepare_streams()
    output = Output()
    try:
        code = cli.main(
            args=None if argv is None else list(argv), prog_name="claude-relay", standalone_mode=False, obj=output
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        _show(exc)
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        print(file=sys.stderr)
        return 130
    except (PipeClosed, BrokenPipeError):
        _discard_output()
        return 141
    except RelayError as exc:
        _print_error(output, exc)
        return exc.exit_code
    except Exception as exc:
        if isinstance(exc, OSError) and exc.errno in _WRITE_ERRORS:
            print(f"claude-relay: the output cannot be written: {exc.strerror}", file=sys.stderr)
            _discard_output()
            return 1
        return _unexpected(output, exc)


def _show(exc: click.ClickException) -> None:
    """Print an error of the option parser, which may have a file's name in it."""
    import io

    text = io.StringIO()
    exc.show(file=text)
    print(clean(text.getvalue()), end="", file=sys.stderr)


def _discard_output() -> None:
    """Keep the interpreter from complaining at its exit about what stdout did not take."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _prepare_streams() -> None:
    """Replace characters that stdout cannot carry; open /dev/null for a closed stream, lest a file take its place."""
    if sys.stdout is not None and (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        with contextlib.suppress(AttributeError):
            sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))


def _print_error(output: Output, exc: RelayError) -> None:
    """Print an error to stderr: a sentence for each problem, or one JSON line with `--json`."""
    if output.json:
        from ..core import wire

        body = wire.error_body(exc, problems=_problems(exc), now=time.time())
        print(json.dumps({**body, "exitCode": exc.exit_code}), file=sys.stderr)
        return
    if isinstance(exc, ConfigError):
        lines: Sequence[str] = exc.problems
    else:
        lines = [str(problem) for problem in _problems(exc)] or [str(exc)]
    for line in lines[:_MOST_LINES]:
        print(f"claude-relay: {clean(line)}", file=sys.stderr)
    if len(lines) > _MOST_LINES:
        print(f"claude-relay: and {len(lines) - _MOST_LINES:,} more problems (--json lists all)", file=sys.stderr)


def _problems(exc: RelayError) -> Sequence[Problem]:
    return exc.problems if isinstance(exc, InvalidRequest) else ()


def _unexpected(output: Output, exc: Exception) -> int:
    if output.verbose or os.environ.get("LOG_LEVEL") == "debug":
        import traceback

        traceback.print_exc()
    else:
        summary = f"{type(exc).__name__}: {exc}".splitlines()[0]
        print(f"claude-relay: unexpected error: {clean(summary)}. Run again with -v for the details.", file=sys.stderr)

    return 1
