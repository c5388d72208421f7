"""What an operator can set, type, see or be told stands in `docs/`."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import gateway
from gateway.cli.entry import ENTRIES, Entry, tollway
from gateway.errors import GatewayError
from gateway.outcomes import Outcome
from gateway.settings import DECLARED, Declared
from gateway.telemetry.catalogue import METRICS
from gateway.telemetry.logs import FIELDS
from gateway.telemetry.metric import Metric

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    """Every command one can type, with the words to type."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, (*words, name))
    else:
        yield " ".join(words), command


ALL_COMMANDS = dict(commands(tollway, ("tollway",)))


def table_row(document: str, name: str) -> str:
    """The one line of a document's tables that begins with a name in backticks."""
    rows = [line for line in document.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"{name} should have one row, has {len(rows)}"
    return rows[0]


@pytest.mark.parametrize("setting", DECLARED, ids=lambda setting: setting.name)
def test_every_setting_is_documented_with_its_default_and_meaning(setting: Declared) -> None:
    row = table_row((DOCS / "settings.md").read_text(), setting.name)
    assert row == f"| `{setting.name}` | {setting.default} | {setting.about} |"


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = set(re.findall(r"TOLLWAY_[A-Z_]*[A-Z]", (DOCS / "settings.md").read_text()))
    assert documented <= {setting.name for setting in DECLARED}


@pytest.mark.parametrize(("words", "command"), ALL_COMMANDS.items(), ids=ALL_COMMANDS)
def test_every_command_and_option_is_documented(words: str, command: click.Command) -> None:
    text = (DOCS / "cli.md").read_text()
    found = re.search(rf"^### `{re.escape(words)}`\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no part headed `{words}`"
    for parameter in command.params:
        name = (
            parameter.opts[0]
            if isinstance(parameter, click.Option)
            else parameter.make_metavar(click.Context(command))
        )
        assert f"`{name}" in found[1]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_list_of_commands_says_what_the_commands_say(entry: Entry) -> None:
    command = tollway.get_command(click.Context(tollway), entry.name)
    assert command is not None
    if isinstance(command, click.Group):
        assert command.help == entry.help
    else:
        assert (command.help or "").split("\n")[0] == entry.help


def part(document: str, heading: str) -> str:
    """What stands below a heading of the second level."""
    found = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)
    assert found, f"there is no part headed {heading}"
    return found[1]


def every_error() -> list[type[GatewayError]]:
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [GatewayError]
    for error in found:
        found += error.__subclasses__()
    return [error for error in found if error.__module__.startswith("gateway.")]


def test_every_error_code_is_documented_with_its_status() -> None:
    text = part((DOCS / "errors.md").read_text(), "Codes")
    for error in every_error():
        assert f"| {error.status} |" in table_row(text, error.code)


def test_error_codes_are_never_shared() -> None:
    codes = [error.code for error in every_error()]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.label)
def test_every_outcome_is_documented(outcome: Outcome) -> None:
    table_row(part((DOCS / "errors.md").read_text(), "Outcomes"), outcome.label)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_documented(metric: Metric) -> None:
    table_row((DOCS / "metrics.md").read_text(), f"tollway_{metric.name}")


@pytest.mark.parametrize("field", FIELDS)
def test_every_log_field_is_documented(field: str) -> None:
    table_row((DOCS / "logs.md").read_text(), field)


def test_make_help_lists_every_command_of_the_makefile() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony
    explained = set(re.findall(r"^([a-z]+):.*## ", text, re.MULTILINE))
    plain = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, env=plain, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert explained == {
        line.split()[0].removeprefix("make") or line.split()[1] for line in listed.splitlines()
    }
    assert {"run", "test", "bench", "help"} <= explained <= set(phony[1].split())


def test_the_changelog_knows_this_version() -> None:
    assert f"## {gateway.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "deploy").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
