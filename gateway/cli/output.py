"""What commands print: tables for people, one JSON object for scripts."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def print_json(told: Mapping[str, object]) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(told, indent=2, ensure_ascii=False))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be; numbers to the right.

    On a terminal that is too narrow for them each row is a block of names and values instead.
    """
    cells = [[_text(value) for value in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(heads), *cells]) for column in range(len(heads))]
    if cells and sum(widths) + 2 * len(widths) - 2 > _room():
        for number, row in enumerate(cells):
            click.echo("\n" if number else "", nl=False)
            _print_pairs(dict(zip(heads, row, strict=True)))
        return
    numeric = [
        bool(rows) and all(isinstance(row[column], int | float) for row in rows)
        for column in range(len(heads))
    ]
    for line in [list(heads), *cells]:
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    _print_pairs({name: _text(value) for name, value in facts.items()})


def tell_more(option: str, following: str | int | None) -> None:
    """That the list goes on, and what to type for the rest."""
    if following is not None:
        click.echo(f"There may be more: {option} {following}", err=True)


def _print_pairs(pairs: Mapping[str, str]) -> None:
    width = max(map(len, pairs))
    for name, text in pairs.items():
        click.echo(f"{name.ljust(width)}  {text}".rstrip())


def _room() -> float:
    """Characters in a line of the terminal; files and pipes have room for everything."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal else float("inf")


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    if isinstance(value, Mapping):
        value = [f"{name}={_text(one)}" for name, one in sorted(value.items())]
    text = ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
    return "-" if value is None or not text else text
