"""Compile the path of a call to machine code: the gateway's own code then takes a third less CPU per call.

    python deploy/compile.py FOLDER

FOLDER has `gateway/` in it and nothing else to be imported, as `pip install --no-deps --target FOLDER .`
makes it: what lies beside is taken for a part of the program. The compiled modules are laid beside their
sources, and Python takes them instead. They are made of the same lines, by mypyc, the compiler that
comes with mypy. Without them all works alike, only slower.

Needs a C compiler and the headers of the Python that runs this, which is the one that the result is for.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.errors import CCompilerError

HOT = {
    ".": ("clock", "inline", "outbox"),
    "model": ("exchange",),
    "dataplane": (
        "answering",
        "caller",
        "connection",
        "head",
        "pipeline",
        "reading",
        "repeat",
        "waits",
    ),
    "routing": ("rollout", "table"),
    "auth": ("authenticator", "credentials"),
    "admission": ("admit_script", "admitter", "decider", "fields", "leases", "store", "together"),
    "metering": ("meter",),
    "journal": ("writer",),
    "upstream": (
        "connection",
        "forwarder",
        "group",
        "pool",
        "reading",
        "request",
        "tunnel",
        "whole",
    ),
}
"""What runs in each call. A module that does not would only take time to compile."""


def sources() -> list[str]:
    """Paths of the modules, as Python finds them from FOLDER."""
    return [os.path.normpath(f"gateway/{room}/{name}.py") for room, names in HOT.items() for name in names]


def compile_hot(folder: Path) -> None:
    """Lay the compiled modules into `folder`, all or none. SystemExit with what the compiler says.

    `gateway/compiled.sha256` says of which sources they are, as `sha256sum --check` reads it.
    """
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(folder):
        os.environ["MYPY_CACHE_DIR"] = scratch
        options = ["--strict", "--explicit-package-bases", *sources()]
        try:
            with contextlib.redirect_stdout(said):
                modules = mypycify(options, opt_level="2", multi_file=True, target_dir=scratch)
        except SystemExit:
            sys.exit(said.getvalue())
        build = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
        build.build_lib, build.build_temp = f"{scratch}/lib", f"{scratch}/temp"
        build.ensure_finalized()
        try:
            build.run()
        except CCompilerError as error:
            sys.exit(
                f"{error}\nThis needs a C compiler and Python.h: apt-get install gcc libc6-dev python3-dev"
            )
        sums = [f"{sha256(Path(path).read_bytes()).hexdigest()}  {path}\n" for path in sources()]
        Path(scratch, "lib/gateway/compiled.sha256").write_text("".join(sums))
        shutil.copytree(f"{scratch}/lib", folder, dirs_exist_ok=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1], "gateway").is_dir():
        sys.exit(f"usage: {sys.argv[0]} FOLDER   where FOLDER has gateway/ in it")
    compile_hot(Path(sys.argv[1]).resolve())
