"""Libraries that are too old or half installed serve nobody."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest
from aiohttp.http_parser import HttpRequestParserPy

from gateway.errors import StartupError
from gateway.supervisor import libraries
from gateway.supervisor.libraries import check_compiled, check_libraries


def test_what_is_installed_here_will_do() -> None:
    check_libraries()
    check_compiled()


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


def test_what_was_compiled_of_other_sources_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "gateway"
    package.mkdir()
    (package / "inline.py").write_text("A = 1\n")
    check_compiled(package)
    (package / "compiled.sha256").write_text(
        f"{sha256(b'A = 1' + bytes([10])).hexdigest()}  gateway/inline.py\n"
    )
    check_compiled(package)
    (package / "inline.py").write_text("A = 2\n")
    with pytest.raises(
        StartupError, match=r"gateway/inline.py is newer .* run deploy/compile.py .* or delete"
    ):
        check_compiled(package)
