"""The path of a call is compiled. What the compiler does unlike Python is nowhere in it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from gateway import COMPILED

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "compile.py"


def _sources() -> list[str]:
    spec = importlib.util.spec_from_file_location("compile_hot", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[str] = module.sources()
    return found


SOURCES = _sources()


def waits_while_handling(tree: ast.AST) -> Iterator[int]:
    """Lines where a coroutine or generator may stop within `except`, `finally` or `with`.

    Compiled, it would leave what it handles to whoever runs next: each later error of the process would be
    said to have come "during handling of" it, and keep what it holds.
    """
    for node in ast.walk(tree):
        bodies: list[Iterable[ast.stmt]] = []
        if isinstance(node, ast.Try):
            bodies = [node.finalbody, *(handler.body for handler in node.handlers)]
        elif isinstance(node, ast.With):
            bodies = [node.body]
        elif isinstance(node, ast.AsyncWith):
            yield node.lineno
        for statement in (one for body in bodies for one in body):
            for inner in ast.walk(statement):
                if isinstance(inner, ast.Await | ast.Yield | ast.YieldFrom):
                    yield inner.lineno


@pytest.mark.parametrize("path", SOURCES)
def test_nothing_waits_while_it_handles_an_error(path: str) -> None:
    assert list(waits_while_handling(ast.parse((ROOT / path).read_text()))) == []


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (4, "try:\n  x()\nexcept E:\n  await y()"),
        (4, "try:\n  x()\nfinally:\n  await y()"),
        (2, "with x():\n  yield"),
        (1, "async with x():\n  y()"),
    ],
)
def test_whoever_does_is_found(line: int, text: str) -> None:
    function = "async def f():\n" + textwrap.indent(text, "  ")
    assert list(waits_while_handling(ast.parse(function))) == [line + 1]


SLICES = {
    "data[at:end]": "the ends are compared first",
    "data[first:last]": "the ends are compared first",
    "data[end:last]": "the same",
    "lines[at:at + 4]": "a list",
    "numbers[at:at + 3]": "a tuple",
    "numbers[at + 3:sets:2]": "a tuple",
    "numbers[at + 4:sets:2]": "a tuple",
    "numbers[sets:end]": "a tuple",
    "self._memory[at:end]": "an mmap",
    "self._memory[self._at:self._at + size]": "an mmap",
    "segment.memory[self._at:self._at + CLOSED_BYTES]": "an mmap",
}
"""Two-sided slices that the compiler makes as Python does, and why."""


@pytest.mark.parametrize("path", SOURCES)
def test_no_slice_of_bytes_can_end_before_it_begins(path: str) -> None:
    """In Python it would be empty. Compiled by mypy 2.4.1 it is a SystemError."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            is_two_sided = node.slice.lower is not None and node.slice.upper is not None
            assert not is_two_sided or ast.unparse(node) in SLICES, (
                f"{path}:{node.lineno}: say why it can not"
            )


STAGES = ("dataplane", "routing", "auth", "admission", "metering", "journal", "upstream")


@pytest.mark.parametrize("room", STAGES)
def test_no_iterator_can_run_dry(room: str) -> None:
    """A StopIteration that leaves a compiled coroutine looks as if it had returned None."""
    for path in (ROOT / "gateway" / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "next" and len(node.args) == 1:
                of = ast.unparse(
                    node.args[0]
                )  # of a container that was just seen to hold something, of a count
                assert of.startswith("iter(") or of == "self._numbers", (
                    f"{path}:{node.lineno}: needs a default"
                )


def test_all_of_it_is_compiled_or_nothing() -> None:
    for path in SOURCES:
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        assert module.__file__ is not None
        assert module.__file__.endswith(".so") is COMPILED, path


def test_a_folder_without_the_gateway_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SCRIPT, tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("FOLDER   where FOLDER has gateway/ in it\n")
