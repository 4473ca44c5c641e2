"""``metrion completion``: the name of a shell in, the script that makes it complete ``metrion …`` out."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_INSTALL = {
    "bash": "echo 'eval \"$(metrion completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(metrion completion zsh)\"' >> ~/.zshrc",
    "fish": "mkdir -p ~/.config/fish/completions && metrion completion fish > ~/.config/fish/completions/metrion.fish",
}
"""The line that makes a shell complete from its next start on."""


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(tuple(_INSTALL)))
@click.option("--config", metavar="FILE", expose_value=False, help="Taken as by every command; nothing of it matters.")
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options and names.

    SHELL is bash, zsh or fish. Names of tokens, accounts and providers are those of the home at hand.

    \b
    Examples:
      eval "$(metrion completion bash)"    in ~/.bashrc
      eval "$(metrion completion zsh)"     in ~/.zshrc, behind compinit
      metrion completion fish > ~/.config/fish/completions/metrion.fish
    """  # noqa: D301 -- \b is click's mark for text that keeps its lines
    from metrion.cli import commands

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 -- click has these three
    script = kind(commands, {}, "metrion", "_METRION_COMPLETE").source().strip()
    click.echo(f"{script}\n\n# To have it from the next start of the shell on:\n#   {_INSTALL[shell]}")
