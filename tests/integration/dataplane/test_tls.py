"""TLS on the public port, and a certificate that is replaced while it is in use."""

from __future__ import annotations

import os
import shutil
import ssl
from pathlib import Path

import pytest

from gateway.dataplane.tls import Certificate
from gateway.errors import StartupError
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream, read_head

CERTS = Path(__file__).parent / "certs"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    install("first", chain, key)
    return chain, key


def install(name: str, chain: Path, key: Path) -> None:
    """Put a certificate in place as tools do: written aside, then renamed."""
    for source, target in ((CERTS / f"{name}.crt", chain), (CERTS / f"{name}.key", key)):
        aside = target.with_suffix(".new")
        shutil.copyfile(source, aside)
        aside.replace(target)


@pytest.fixture
async def secure(make_proxy: MakeProxy, files: tuple[Path, Path]) -> tuple[Proxy, Certificate]:
    certificate = Certificate(*files)
    return await make_proxy(tls=certificate.context), certificate


async def presented(proxy: Proxy) -> str:
    """The name in the certificate that a new connection is shown."""
    trust = ssl.create_default_context()
    for name in ("first", "second"):
        trust.load_verify_locations(CERTS / f"{name}.crt")
    reader, writer = await proxy.connect(ssl=trust, server_hostname="localhost")
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200 ")
    shown = writer.get_extra_info("ssl_object").getpeercert()
    return str(shown["subject"][0][0][1])


async def test_calls_arrive_by_tls_and_the_upstream_is_told(
    secure: tuple[Proxy, Certificate], upstream: ScriptedUpstream
) -> None:
    assert await presented(secure[0]) == "first"
    assert b"X-Forwarded-Proto: https\r\n" in upstream.heads[0]


async def test_a_replaced_certificate_is_shown_to_new_connections(
    secure: tuple[Proxy, Certificate], files: tuple[Path, Path]
) -> None:
    proxy, certificate = secure
    assert not certificate.reload_if_changed()
    install("second", *files)
    assert certificate.reload_if_changed()
    assert await presented(proxy) == "second"


@pytest.mark.parametrize("damage", ["other key", "no PEM", "gone"])
async def test_files_that_do_not_fit_change_nothing(
    damage: str, secure: tuple[Proxy, Certificate], files: tuple[Path, Path]
) -> None:
    proxy, certificate = secure
    chain, key = files
    if damage == "other key":
        shutil.copyfile(CERTS / "second.key", key)
    elif damage == "no PEM":
        chain.write_text("nonsense")
    else:
        key.unlink()
    assert not certificate.reload_if_changed()
    assert await presented(proxy) == "first"


async def test_plain_http_on_the_tls_port_gets_no_answer(secure: tuple[Proxy, Certificate]) -> None:
    answer = await secure[0].exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP/1.1" not in answer


@pytest.mark.parametrize("damage", ["other key", "gone", "unreadable"])
def test_what_can_not_be_used_is_one_line(damage: str, files: tuple[Path, Path]) -> None:
    chain, key = files
    if damage == "other key":
        shutil.copyfile(CERTS / "second.key", key)
    elif damage == "gone":
        chain.unlink()
    else:
        os.truncate(chain, 100)
    with pytest.raises(
        StartupError, match="TOLLWAY_TLS_CERT and TOLLWAY_TLS_KEY can not be used: "
    ) as raised:
        Certificate(chain, key)
    assert "\n" not in str(raised.value)
