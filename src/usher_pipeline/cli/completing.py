"""Completion in shells: commands, options, names and keys of the store in force."""

from __future__ import annotations

from typing import Final

import click

__all__ = ["completion"]

_SHELLS: Final = ("bash", "zsh", "fish")

#: The control character keeps click from joining the lines that follow it.
_HELP: Final = """Print what lets a shell complete commands, names and keys.

\b
bash:  eval "$(usher completion bash)"        in ~/.bashrc
zsh:   eval "$(usher completion zsh)"         in ~/.zshrc
fish:  usher completion fish | source         in config.fish
"""


@click.command("completion", help=_HELP)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows these three
    root = context.find_root().command
    click.echo(kind(root, {}, "usher", "_USHER_COMPLETE").source())
