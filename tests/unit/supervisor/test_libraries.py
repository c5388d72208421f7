"""Libraries that are too old or half installed serve nobody."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp.http_parser import HttpRequestParserPy

from gateway.errors import StartupError
from gateway.supervisor import libraries
from gateway.supervisor.libraries import check_libraries


def test_what_is_installed_here_will_do() -> None:
    check_libraries()


@pytest.mark.parametrize("version", ["3.14.4", "3.9.0", "2.99.99"])
def test_an_old_one_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    with pytest.raises(StartupError, match=f"{version} is too old: install"):
        check_libraries()


@pytest.mark.parametrize("version", ["3.14.5", "3.15.0", "4.0.0a1", "4.1"])
def test_newer_ones_will_do(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    check_libraries()


def test_one_without_c_extensions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "HttpRequestParser", HttpRequestParserPy)
    with pytest.raises(StartupError, match="without its C extensions: install its wheel"):
        check_libraries()
