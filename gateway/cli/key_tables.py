"""`tollway key load` and `tollway key hash`: tables of keys that were made elsewhere."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click

from gateway.accounts.key_table import SECRET, ListedKey, TableProblems, read_table
from gateway.accounts.keys import digest
from gateway.accounts.listed_keys import Imported, ListedKeys
from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.output import json_option, print_facts, print_json
from gateway.errors import TollwayError
from gateway.policy.load import load_folder
from gateway.settings import Settings
from gateway.storage.postgres import Pool, transaction

FOREIGN = "Gateways accept keys that are not in their format while TOLLWAY_FOREIGN_KEYS is `yes`."


class BadTable(TollwayError):
    """The table can not be used. Lists every problem, with its line."""


class _DryRun(Exception):
    """Undoes what was tried."""

    def __init__(self, done: Imported) -> None:
        self.done = done
        super().__init__()


@click.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Say what would be imported, and change nothing.")
@json_option
def load(file: str, *, dry_run: bool, as_json: bool) -> None:
    """Import a table (CSV) of keys made elsewhere, with the accounts they need: all of it or nothing.

    From stdin (`-`) it may hold the keys themselves, in a column `key`: they are hashed and not kept.
    """
    keys = _read(file)

    async def work(pool: Pool, settings: Settings) -> Imported:
        loaded = load_folder(settings.policies)
        tiers = None if loaded.policies is None else loaded.policies.tiers
        try:
            async with transaction(pool) as connection:
                accounts = Accounts(connection, settings.key_prefix)
                done = await ListedKeys(connection, accounts, tiers).add(keys)
                if dry_run:
                    raise _DryRun(done)
        except TableProblems as found:
            raise _told(found, file) from None
        except _DryRun as dry:
            return dry.done
        return done

    done = with_database(work)
    told = {"listed": len(keys), "added": done.added, "accounts_made": done.accounts, "dry_run": dry_run}
    if as_json:
        print_json(told)
    else:
        print_facts(told)
        click.echo(FOREIGN, err=True)


@click.command("hash")
def hash_() -> None:
    """Put SHA-256 in place of the keys in a table (CSV with a column `key`): stdin to stdout."""
    reader = csv.DictReader(sys.stdin, strict=True)
    names = reader.fieldnames or []
    if SECRET not in names or "sha256" in names:
        raise click.UsageError("stdin is no table with a column `key`, and none called `sha256`.")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["sha256" if name == SECRET else name for name in names])
    try:
        for row in reader:
            row[SECRET] = digest((row[SECRET] or "").strip().encode()).hex()
            writer.writerow([row[name] for name in names])
    except csv.Error:
        raise click.UsageError(f"line {reader.line_num} is not CSV.") from None


def _read(file: str) -> list[ListedKey]:
    is_stdin = file == "-"
    try:
        text = sys.stdin.read() if is_stdin else Path(file).read_text(encoding="utf-8-sig")
        return read_table(text, secrets=is_stdin)
    except UnicodeDecodeError:
        raise BadTable(f"{file} is not UTF-8.") from None
    except OSError as error:
        raise BadTable(f"{file} can not be read: {error.strerror}") from None
    except TableProblems as found:
        raise _told(found, file) from None


def _told(found: TableProblems, name: str) -> BadTable:
    return BadTable(
        "\n".join([f"{found}, nothing was changed", *(one.within(name) for one in found.problems)])
    )
