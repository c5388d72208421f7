"""Tab in real shells. The shell asks the command line itself, so nothing is listed twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.entry import ENTRIES

POLICIES = Path(__file__).parents[3] / "policies"

BASH = """
eval "$(tollway completion bash)"
complete -p tollway >/dev/null || exit 3
COMP_WORDS=(tollway {words}); COMP_CWORD={last}; COMPREPLY=()
$(complete -p tollway | sed 's/.*-F \\([^ ]*\\).*/\\1/') tollway
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
FISH = 'tollway completion fish | source; complete -C "tollway {words}"'
ZSH = """
autoload -U compinit && compinit -u -D
eval "$(tollway completion zsh)"
(( $+_comps[tollway] )) || exit 3
words=(tollway {words}); CURRENT=$(( {last} + 1 ))
_describe() {{ shift 2; print -rl -- ${{(P)1}} }}
compadd() {{ print -rl -- ${{@[-1]}} }}
$_comps[tollway]
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Where `tollway` is this very code."""
    script = tmp_path / "tollway"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
    script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLWAY_")}
    paths = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    home = {"HOME": str(tmp_path), "TOLLWAY_POLICIES": str(POLICIES), "TOLLWAY_DATA_DIR": str(tmp_path)}
    return {**kept, **paths, **home}


def offered(shell: str, typed: list[str], environ: dict[str, str]) -> list[str]:
    """What a shell offers for the last of the words."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    text = {"bash": BASH, "fish": FISH, "zsh": ZSH}[shell]
    words = " ".join(word if word or shell == "fish" else "''" for word in typed)
    script = text.format(words=words, last=len(typed))
    done = subprocess.run(
        [shell, "-c", script], env=environ, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return [line.split("\t")[0].split(":")[0] for line in done.stdout.splitlines() if line.strip()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_offers_what_the_parser_knows(shell: str, environ: dict[str, str]) -> None:
    assert offered(shell, [""], environ) == [one.name for one in ENTRIES] or shell == "fish"
    assert sorted(offered(shell, [""], environ)) == sorted(one.name for one in ENTRIES)
    assert sorted(offered(shell, ["account", "override", ""], environ)) == ["clear", "list", "set"]
    assert offered(shell, ["account", "set", "x", "--sta"], environ) == ["--status"]


def test_values_are_offered_by_choices_and_by_the_policies_in_use(environ: dict[str, str]) -> None:
    assert offered("bash", ["key", "create", "--mode", ""], environ) == ["live", "test"]
    assert "community" in offered("bash", ["account", "create", "--tier", "c"], environ)
    assert "burst" in offered("bash", ["enforcement", "set", "off", "--limit", "b"], environ)
    nowhere = {**environ, "TOLLWAY_POLICIES": "/nowhere", "TOLLWAY_WORKERS": "many"}
    assert offered("bash", ["account", "create", "--tier", "c"], nowhere) == []


def test_the_first_tab_loads_no_command(environ: dict[str, str]) -> None:
    script = (
        "import sys\n"
        "from gateway.cli import main\n"
        "try: main()\n"
        "except SystemExit: print({'asyncpg', 'aiohttp', 'pydantic'} & set(sys.modules))\n"
    )
    asked = {"_TOLLWAY_COMPLETE": "bash_complete", "COMP_WORDS": "tollway ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environ, **asked},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "set()"
