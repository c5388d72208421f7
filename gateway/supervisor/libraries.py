"""How libraries, and what was compiled of ours, must be before anybody is served with them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import aiohttp
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from gateway.errors import StartupError

PACKAGE = Path(__file__).parents[1]

AIOHTTP_MIN = (3, 14, 5)
"""Older ones let a WebSocket upgrade have a body, and pipelined requests and trailers be without number."""


def check_libraries() -> None:
    """StartupError if the portal and the admin API would be served by a parser that is known to be unsafe.

    aiohttp's parser in Python, which it falls back to without its C extensions, is slow enough to be flooded.
    """
    installed = tuple(int(part) for part in aiohttp.__version__.split(".")[:3] if part.isdigit())
    if installed < AIOHTTP_MIN:
        raise StartupError(f"aiohttp {aiohttp.__version__} is too old: install 3.14.5 or newer")
    if HttpRequestParser is HttpRequestParserPy:
        raise StartupError(
            "aiohttp is installed without its C extensions: install its wheel for this machine "
            "(pip install --only-binary :all: --force-reinstall aiohttp) and unset AIOHTTP_NO_EXTENSIONS"
        )


def check_compiled(package: Path = PACKAGE) -> None:
    """StartupError if modules were compiled of other sources than these: they would run in their place."""
    sums = package / "compiled.sha256"
    if not sums.exists():
        return
    for line in sums.read_text().splitlines():
        digest, name = line.split("  ")
        if sha256((package.parent / name).read_bytes()).hexdigest() != digest:
            raise StartupError(
                f"{name} is newer than what was compiled of it: run deploy/compile.py again "
                f"(deploy/README.md), or delete {sums} and the .so files below {package}"
            )
