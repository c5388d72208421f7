"""TLS on the public port, and a certificate that is replaced while it is in use."""

from __future__ import annotations

import os
import shutil
import ssl
from pathlib import Path

import pytest

from gateway.dataplane import tls
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


def trusting(*names: str) -> ssl.SSLContext:
    trust = ssl.create_default_context()
    for name in names:
        trust.load_verify_locations(CERTS / f"{name}.crt")
    return trust


async def presented(proxy: Proxy) -> str:
    """The name in the certificate that a new connection is shown."""
    reader, writer = await proxy.connect(ssl=trusting("first", "second"), server_hostname="localhost")
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


async def test_a_file_that_changes_while_it_is_looked_at_spoils_nothing(
    secure: tuple[Proxy, Certificate], files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool writes the chain between two of our looks, and the key behind them."""
    proxy, certificate = secure
    chain, key = files
    make = tls._context

    def make_and_change(*found: Path) -> ssl.SSLContext:
        context = make(*found)
        shutil.copyfile(CERTS / "second.crt", chain)
        return context

    monkeypatch.setattr(tls, "_context", make_and_change)
    os.utime(chain)
    certificate.reload_if_changed()
    assert await presented(proxy) == "first"
    monkeypatch.undo()
    certificate.reload_if_changed()
    assert await presented(proxy) == "first", "the chain does not fit the key yet"
    shutil.copyfile(CERTS / "second.key", key)
    assert certificate.reload_if_changed()
    assert await presented(proxy) == "second"


async def test_files_with_the_times_of_the_old_ones_are_noticed(
    secure: tuple[Proxy, Certificate], files: tuple[Path, Path]
) -> None:
    """As are those that only became readable: neither is a new file or a later time of writing."""
    proxy, certificate = secure
    for name, file in (("second.crt", files[0]), ("second.key", files[1])):
        before = file.stat()
        shutil.copyfile(CERTS / name, file)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.stat().st_ino == before.st_ino
    assert certificate.reload_if_changed()
    assert await presented(proxy) == "second"


async def test_open_connections_go_on_with_the_certificate_they_began_with(
    secure: tuple[Proxy, Certificate], files: tuple[Path, Path]
) -> None:
    proxy, certificate = secure
    reader, writer = await proxy.connect(ssl=trusting("first"), server_hostname="localhost")
    for name in ("first", "second", "first", "second"):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_head(reader)).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(1) == b"/"
        install(name, *files)
        certificate.reload_if_changed()
        assert await presented(proxy) == name


@pytest.mark.parametrize("name", ["localhost", "other.example", "127.0.0.1", ""])
async def test_whatever_name_is_asked_for_is_shown_the_certificate_in_use(
    name: str, secure: tuple[Proxy, Certificate], files: tuple[Path, Path]
) -> None:
    proxy, certificate = secure
    install("second", *files)
    certificate.reload_if_changed()
    trust = trusting("second")
    trust.check_hostname = False
    trust.set_alpn_protocols(["h2", "http/1.1"])
    reader, writer = await proxy.connect(ssl=trust, server_hostname=name)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200 ")
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize(
    ("version", "is_spoken"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
async def test_old_versions_of_tls_are_not_spoken(
    version: ssl.TLSVersion, *, is_spoken: bool, secure: tuple[Proxy, Certificate], files: tuple[Path, Path]
) -> None:
    proxy, certificate = secure
    for name in ("first", "second"):
        install(name, *files)
        certificate.reload_if_changed()
        trust = trusting(name)
        trust.set_ciphers("ALL:@SECLEVEL=0")
        trust.minimum_version = trust.maximum_version = version
        if not is_spoken:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await proxy.connect(ssl=trust, server_hostname="localhost")
            continue
        _, writer = await proxy.connect(ssl=trust, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").version() == f"TLSv1.{version - ssl.TLSVersion.TLSv1}"


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
