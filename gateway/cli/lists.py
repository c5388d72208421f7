"""Lists that come in pages: their options, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, get_args

import click

from gateway.cli.output import json_option, print_json, print_table, tell_more
from gateway.controlplane.keys_api import State

F = TypeVar("F", bound=Callable[..., object])
STATES = get_args(State)
state_option = click.option("--state", type=click.Choice(STATES), help="Only those in this state.")


def paged(*, after: str) -> Callable[[F], F]:
    """`--limit`, `--after` and `--json`; `after` is the kind of record that a page begins behind."""

    def decorate(function: F) -> F:
        behind = click.option("--after", metavar="ID", help=f"Go on behind this {after}.")
        return limited(100)(behind(json_option(function)))

    return decorate


def newest_first(limit: int = 100) -> Callable[[F], F]:
    """`--limit`, `--before` and `--json`, for entries that have numbers."""

    def decorate(function: F) -> F:
        before = click.option(
            "--before", type=click.IntRange(1, 2**63 - 1), metavar="N", help="Go on behind this entry."
        )
        return limited(limit)(before(json_option(function)))

    return decorate


def limited(default: int) -> Callable[[F], F]:
    """`--limit` alone."""
    return click.option(
        "--limit", type=click.IntRange(1, 1000), default=default, show_default=True, help="How many."
    )


def show_page(
    data: Sequence[Mapping[str, object]],
    following: str | int | None,
    table: Callable[[], tuple[Sequence[str], Sequence[Sequence[object]]]],
    *,
    as_json: bool,
    option: str = "--after",
) -> None:
    """A page as JSON, or heads and rows with a word about the rest."""
    if as_json:
        print_json({"data": list(data), "next": following})
        return
    print_table(*table())
    tell_more(option, following)
