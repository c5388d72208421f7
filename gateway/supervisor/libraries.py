"""What the installed libraries must be like before anybody is served with them."""

from __future__ import annotations

import aiohttp
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from gateway.errors import StartupError

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
