"""`completion`: what a shell needs to complete verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .output import Output, pass_output


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
@pass_output
def completion(output: Output, ctx: click.Context, shell: str) -> None:
    """Print the completion script: eval "$(claude-relay completion bash)" in your shell's start-up file."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root().command
    script = kind(root, {}, "claude-relay", "_CLAUDE_RELAY_COMPLETE")
    output.write(script.source())
