"""`completion`: the scripts that let a shell complete verbs, options, ids and groups."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ..render.output import Output, pass_output

_CALL = '_claude_relay_completion "$@"'


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
@pass_output
def completion(output: Output, ctx: click.Context, shell: str) -> None:
    """Print the completion script: eval "$(claude-relay completion bash)" in your shell's start-up file."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    script = kind(ctx.find_root().command, {}, "claude-relay", "_CLAUDE_RELAY_COMPLETE").source()
    # Autoloaded by zsh, click's script completes only once, as the second completion has another context.
    output.write(script.replace(_CALL, f"compdef _claude_relay_completion claude-relay; {_CALL}"))
