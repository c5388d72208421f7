"""How far long work is, for whoever waits at a terminal. Scripts, pipes and `--json` see nothing of it."""

from __future__ import annotations

import itertools
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import click

T = TypeVar("T")
BEGIN_LINE = "\r\x1b[K"
"""Go to the beginning of the terminal's line, and empty it."""


@contextmanager
def progress(what: str, work: Collection[T], *, quiet: bool = False) -> Iterator[Iterator[T]]:
    """A bar on stderr that moves as the pieces of work are taken."""
    if quiet or not is_watched():
        yield iter(work)
        return
    with click.progressbar(work, label=what, file=sys.stderr) as bar:
        yield iter(bar)


@contextmanager
def steps(what: str, total: int | None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """The same for work that says itself how many of its steps are done; no `total`: nobody knows."""
    if quiet or not is_watched():
        yield lambda _: None
        return
    done = 0
    endless = None if total is not None else itertools.count()
    with click.progressbar(endless, length=total, label=what, show_pos=total is None, file=sys.stderr) as bar:

        def tell(count: int) -> None:
            nonlocal done
            bar.update(count - done)
            done = count

        yield tell


@contextmanager
def ongoing(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """The same for work that finds out how much there is: it tells how much of how much is done."""
    with ExitStack() as shown:
        bar: Callable[[int], None] | None = None

        def tell(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = shown.enter_context(steps(what, total, quiet=quiet))
            bar(done)

        yield tell


def tell(line: str) -> None:
    """A line on stderr, above a bar if there is one."""
    click.echo(f"{BEGIN_LINE if is_watched() else ''}{line}", err=True)


def is_watched() -> bool:
    """Whether somebody watches a terminal, and not what another program makes of the output."""
    if sys.stderr is None or not sys.stderr.isatty() or sys.stdout is None:
        return False
    try:
        return not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False
