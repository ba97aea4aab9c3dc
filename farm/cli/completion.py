"""`farm completion`: what a shell needs to complete commands, options and the names of sources."""

from __future__ import annotations

import os
from pathlib import Path

import click

from farm.cli.command import command

SHELLS = ("bash", "zsh", "fish")


@command(
    examples=[
        'eval "$(farm completion bash)"   # in ~/.bashrc',
        'eval "$(farm completion zsh)"    # in ~/.zshrc',
        "farm completion fish > ~/.config/fish/completions/farm.fish",
    ]
)
@click.argument("shell", required=False, type=click.Choice(SHELLS))
def completion(shell: str | None) -> None:
    """Print the completion script of SHELL, by default the one you use."""
    from click.shell_completion import get_completion_class

    from farm.cli import farm

    own = Path(os.environ.get("SHELL", "")).name
    chosen = shell or (own if own in SHELLS else "")
    if not chosen:
        raise click.UsageError(f"Name the shell: {', '.join(SHELLS)}.")
    complete = get_completion_class(chosen)
    assert complete is not None  # all of SHELLS are click's own
    # Not `source()`, which asks bash for its version first: the script alone needs no shell here.
    script = complete(farm, {}, "farm", "_FARM_COMPLETE")
    click.echo(script.source_template % script.source_vars())
