"""`tollway completion`: what a shell needs to complete commands, options and values.

The shell asks the command line itself at each Tab, so there is no list that could be out of date.
"""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

COMPLETE_VARIABLE = "_TOLLWAY_COMPLETE"
SHELLS = {one.name: one for one in (BashComplete, ZshComplete, FishComplete)}
NOTES = {
    "bash": 'in ~/.bashrc: eval "$(tollway completion bash)"',
    "zsh": 'in ~/.zshrc, after compinit: eval "$(tollway completion zsh)"',
    "fish": "in ~/.config/fish/config.fish: tollway completion fish | source",
}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what a shell needs to complete commands at Tab.

    \b
    bash: eval "$(tollway completion bash)" in ~/.bashrc
    zsh:  eval "$(tollway completion zsh)" in ~/.zshrc, after compinit
    fish: tollway completion fish | source, in ~/.config/fish/config.fish
    """
    top = context.find_root()
    made = SHELLS[shell](top.command, {}, "tollway", COMPLETE_VARIABLE)
    # Not `source()`: it starts a bash to ask for its version, and that need not be the one that reads this.
    click.echo(f"# {NOTES[shell]}")
    click.echo(made.source_template % made.source_vars())
