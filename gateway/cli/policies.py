"""`tollway check` and `tollway schema`: policies without Redis, Postgres or settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from gateway.cli.output import json_option, print_json
from gateway.model.policies import PolicySet
from gateway.policy.load import Loaded, load_folder
from gateway.policy.schema import policy_schema

COUNTED = ("upstreams", "meters", "tiers", "routes")


@click.command()
@click.argument(
    "dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default="policies",
    envvar="TOLLWAY_POLICIES",
)
@json_option
@click.pass_context
def check(context: click.Context, /, dir: Path, as_json: bool) -> None:  # noqa: A002 - as it is shown
    """Check a policy folder, offline.

    DIR is ./policies if not given. Prints every problem with its file and line and exits with 1, or says what
    was found. A folder that passes is taken as it is by `tollway run` and by a reload.
    """
    loaded = load_folder(dir)
    if as_json or loaded.policies is None:
        print_problems(loaded, dir, as_json)
    else:
        found = counts(loaded.policies).items()
        said = (f"{number} {name[:-1] if number == 1 else name}" for name, number in found)
        click.echo(f"{dir}: ok, {', '.join(said)}")
    context.exit(1 if loaded.problems else 0)


@click.command()
def schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    print_json(policy_schema())


def print_problems(loaded: Loaded, folder: Path, as_json: bool) -> None:
    """Everything that is to be mended, a line each; or what came of a check as one JSON object."""
    if not as_json:
        for problem in loaded.problems:
            click.echo(str(problem))
        return
    problems = [asdict(problem) for problem in loaded.problems]
    print_json({"ok": not problems, "folder": str(folder), "problems": problems, **counts(loaded.policies)})


def counts(policies: PolicySet | None) -> dict[str, int]:
    """How many of each kind a snapshot has; nothing for none."""
    return {} if policies is None else {name: len(getattr(policies, name)) for name in COUNTED}
