"""The way into the command line: help that reads well, one line for each failure, no traceback."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from gateway import COMPILED, __version__
from gateway.cli import entry
from gateway.errors import StartupError
from tests.commands import Commands


@pytest.fixture
def tollway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys, {})


def test_help_groups_the_commands_and_gives_examples(tollway: Commands) -> None:
    ended = tollway.run("--help")
    assert ended.code == 0
    for section in ("Serve:", "Prepare:", "Customers:", "Examples:"):
        assert section in ended.out
    for one in entry.ENTRIES:
        assert f"  {one.name} " in ended.out
    assert tollway.run("-h").out == ended.out


def test_help_loads_no_room_it_does_not_need() -> None:
    """Somebody typed `tollway --help`: that must not wait for database drivers."""
    script = (
        "import sys; sys.argv = ['tollway', '--help']\n"
        "from gateway.cli import main\n"
        "try: main()\n"
        "except SystemExit: print({'asyncpg', 'aiohttp', 'pydantic'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_version_is_the_packages(tollway: Commands) -> None:
    """And whether the modules that run in each call are compiled, all or none."""
    said = f"tollway {__version__}, compiled\n" if COMPILED else f"tollway {__version__}\n"
    assert tollway.run("--version").out == said


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no command", []),
        ("an unknown command", ["chek"]),
        ("an unknown option", ["check", "--jsn"]),
        ("a folder that is not there", ["check", "/nowhere/at/all"]),
        ("a required option left out", ["account", "create", "--name", "x"]),
        ("a choice that is none", ["key", "create", "--account", "x", "--mode", "real"]),
        ("an address that is none", ["demo-upstream", "--listen", "x"]),
    ],
)
def test_wrong_usage_exits_2_and_prints_nothing_on_stdout(
    tollway: Commands, case: str, words: list[str]
) -> None:
    ended = tollway.run(*words)
    assert ended.code == 2
    assert ended.out == ""
    assert "Usage: tollway" in ended.err


def test_every_problem_of_the_environment_is_one_line(
    tollway: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLWAY_WORKRS", "2")
    monkeypatch.setenv("TOLLWAY_LISTEN", "x")
    ended = tollway.run("account", "list")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines() == [
        "tollway: TOLLWAY_WORKRS is not a setting: did you mean TOLLWAY_WORKERS?",
        "tollway: TOLLWAY_LISTEN must be host:port, like 127.0.0.1:8080",
    ]


@pytest.mark.parametrize(
    ("case", "error", "code", "said"),
    [
        ("Ctrl-C ends the line, no more", KeyboardInterrupt(), 130, "\n"),
        ("an abort is quiet", click.Abort(), 130, ""),
        ("a start that fails", StartupError("one\ntwo"), 1, "tollway: one\ntollway: two\n"),
    ],
)
def test_failures_end_the_command_without_a_traceback(
    tollway: Commands,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(entry.CommandList, "get_command", lambda *_: click.Command("x", callback=fail))
    ended = tollway.run("x")
    assert (ended.code, ended.err) == (code, said)


def test_a_reader_that_went_away_is_no_failure() -> None:
    command = f"{sys.executable} -m gateway schema | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("{", "")


@pytest.mark.parametrize("words", ["schema", "--help", "check tests/policies/valid/split"])
def test_output_that_can_not_be_written_is_one_line(words: str) -> None:
    command = f"{sys.executable} -m gateway {words} > /dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "tollway: No space left on device\n")


def test_nobody_reads_and_nothing_breaks() -> None:
    command = f"{sys.executable} -m gateway schema >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
