"""The way in: the list of commands, loaded when used, and one line for every failure."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass

import click
from click.shell_completion import CompletionItem

from gateway import COMPILED, __version__
from gateway.errors import TollwayError

INTERRUPTED = 130  # what shells report for a command ended by Ctrl-C
BROKEN_PIPE = 141  # ... and by a reader that went away


@dataclass(frozen=True, slots=True)
class Entry:
    """A command's place in the list. Its module is imported only when it is run."""

    section: str
    name: str
    module: str
    help: str


ENTRIES = (
    Entry("Serve", "run", "serve", "Start the gateway."),
    Entry("Serve", "demo-upstream", "demo_upstream", "Start a small upstream to play with."),
    Entry("Prepare", "check", "policies", "Check a policy folder, offline."),
    Entry("Prepare", "schema", "policies", "Print the JSON Schema of policy files, for editors."),
    Entry("Prepare", "migrate", "migrations", "Bring the database to this version."),
    Entry(
        "Prepare",
        "completion",
        "completion",
        "Print what a shell needs to complete commands at Tab.",
    ),
    Entry("Customers", "account", "accounts", "Create, list, show, change accounts."),
    Entry("Customers", "key", "keys", "Create, import, list, show, change, rotate, revoke API keys."),
    Entry("Customers", "member", "members", "Invite, list, change, remove members of accounts."),
    Entry("Customers", "usage", "usage", "What an account used; post and correct usage."),
    Entry(
        "Operators", "policies", "policy_folder", "Show, check, replace policies, and list which were in use."
    ),
    Entry("Operators", "workers", "processes", "The processes of the gateway on this data folder."),
    Entry("Operators", "upstreams", "processes", "Every target of every upstream, as workers see it."),
    Entry("Operators", "token", "operators", "Create, list, show, revoke tokens of the admin API."),
    Entry("Operators", "audit", "operators", "What was changed, by whom, newest first."),
    Entry(
        "Operators",
        "enforcement",
        "enforcement",
        "Loosen limits at once in an emergency, and enforce them again.",
    ),
    Entry("Operators", "explain", "explain", "What would happen to a call now, and why."),
    Entry("Operators", "reconcile", "reconcile", "Compare quota counters with the ledger."),
    Entry(
        "Operators",
        "rows",
        "rows",
        "How rows of calls are laid out: by month, or in a TimescaleDB hypertable.",
    ),
    Entry("Operators", "prove-metering", "proof", "Hurt a gateway of its own and compare what was booked."),
)

EXAMPLES = """\b
Examples:
  tollway run --demo
  tollway check policies
  tollway account create --name "Acme" --tier community
  tollway key create --account acct_... --mode test
  tollway usage --account acct_... --by day

Settings are environment variables that begin with TOLLWAY_; flags win. See docs/settings.md.
"""


class CommandList(click.Group):
    """The top of the command line: sections for people, imports on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [entry.name for entry in ENTRIES]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names and what they do, from the list alone: a Tab should not import every command."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(one.name, help=one.help) for one in ENTRIES if one.name.startswith(incomplete)]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        for entry in ENTRIES:
            if entry.name == cmd_name:
                module = importlib.import_module(f"gateway.cli.{entry.module}")
                command = getattr(module, cmd_name.replace("-", "_"))
                assert isinstance(command, click.Command)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        for section in dict.fromkeys(entry.section for entry in ENTRIES):
            with formatter.section(section):
                formatter.write_dl(
                    [(entry.name, entry.help) for entry in ENTRIES if entry.section == section]
                )


@click.group(cls=CommandList, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__, prog_name="tollway", message=f"%(prog)s %(version)s{', compiled' if COMPILED else ''}"
)
def tollway() -> None:
    """An API gateway that enforces monetization tiers and counts every call exactly once."""


def main() -> None:
    """Run the command line and end the process: 0 done, 1 failed with a line why, 2 wrong usage."""
    try:
        code = tollway.main(prog_name="tollway", standalone_mode=False)
        if sys.stdout is not None:  # closed by the caller: nobody wanted to read
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain at exit either.
        _discard_output()
        code = BROKEN_PIPE
    except OSError as error:
        _discard_output()
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"tollway: {where}{error.strerror or error}", err=True)
        code = 1
    except TollwayError as error:
        for line in str(error).splitlines():
            click.echo(f"tollway: {line}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _discard_output() -> None:
    """What is left in the buffer can not be written, and the interpreter must not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
