"""Where calls go: TLS, unix sockets, names with several addresses."""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.model.policies import HostHeader, Target, Timeouts, Tls
from tests.integration.upstream.conftest import (
    CERTS,
    GET,
    POST,
    MakeGateway,
    MakeTarget,
    Reader,
    Writer,
    body_of,
    server_context,
    status_of,
)

CA = str(CERTS / "ca.pem")


async def test_an_https_target_is_verified_and_kept(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target(tls=server_context())
    gateway = await make_gateway(target, tls=Tls(ca=CA))
    assert await gateway.names(2) == ["a", "a"]
    assert target.connections == 1
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % target.target.port in target.heads[0]


async def test_the_server_name_is_asked_for_and_looked_for(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    asked: list[str | None] = []
    context = server_context()
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    target = await make_target(tls=context)
    gateway = await make_gateway(target, tls=Tls(ca=CA, server_name="api.internal"))
    assert status_of(await gateway.call()) == 200
    assert asked == ["api.internal"]


@pytest.mark.parametrize(
    ("case", "cert", "tls", "said"),
    [
        ("an authority the system does not know", "server", Tls(), "unable to get local issuer"),
        ("a certificate signed by itself", "stranger", Tls(ca=CA), "self-signed certificate"),
        ("a good one for another name", "server", Tls(ca=CA, server_name="other.internal"), "other.internal"),
    ],
)
async def test_a_certificate_that_is_not_good_is_502(
    case: str, cert: str, tls: Tls, said: str, make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target(tls=server_context(cert=cert))
    gateway = await make_gateway(target, tls=tls)
    answer = await gateway.call()
    assert status_of(answer) == 502
    assert b'"upstream_unreachable"' in answer
    assert (
        f"https://127.0.0.1:{target.target.port}: its certificate is not good" in gateway.errors[0].internal
    )
    assert said in gateway.errors[0].internal
    assert target.heads == []


async def test_without_verification_any_certificate_will_do(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    gateway = await make_gateway(
        await make_target(tls=server_context(cert="stranger")), tls=Tls(verify=False)
    )
    assert await gateway.names(1) == ["a"]


async def test_a_target_that_asks_is_shown_our_certificate(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target(tls=server_context(ask_for_client=True))
    shown = Tls(ca=CA, client_cert=str(CERTS / "client.pem"), client_key=str(CERTS / "client.key"))
    with_one = await make_gateway(target, tls=shown)
    assert await with_one.names(1) == ["a"]
    without = await make_gateway(target, tls=Tls(ca=CA))
    assert status_of(await without.call()) == 502
    assert len(target.heads) == 1


async def test_a_missing_file_is_said_at_load_and_mended_without_reload(
    make_target: MakeTarget, make_gateway: MakeGateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca = tmp_path / "ca.pem"
    target = await make_target(tls=server_context())
    with caplog.at_level(logging.ERROR, "tollway.upstream"):
        gateway = await make_gateway(target, tls=Tls(ca=str(ca)))
    record = caplog.records[0]
    assert (record.__dict__["upstream"], record.__dict__["error"]) == (
        "up",
        f"tls.ca: {ca}: No such file or directory",
    )
    assert status_of(await gateway.call()) == 502
    shutil.copy(CERTS / "ca.pem", ca)
    assert await gateway.names(1) == ["a"]


@pytest.mark.parametrize(
    ("case", "tls", "said"),
    [
        ("no certificate", Tls(ca=str(CERTS / "README.md")), "holds no certificate in PEM format"),
        (
            "another's key",
            Tls(client_cert=str(CERTS / "client.pem"), client_key=str(CERTS / "server.key")),
            "server.key is not its key",
        ),
    ],
)
async def test_a_file_that_is_no_good_is_named(
    case: str, tls: Tls, said: str, make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    gateway = await make_gateway(await make_target(tls=server_context()), tls=tls)
    assert status_of(await gateway.call()) == 502
    assert said in gateway.errors[0].internal


async def test_a_handshake_that_hangs_ends_with_the_time_to_connect(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target()

    async def say_nothing(reader: Reader, writer: Writer) -> None:
        await reader.read(-1)

    target.script = say_nothing
    silent = replace(target.target, tls=True)
    gateway = await make_gateway(silent, timeouts=Timeouts(connect_s=0.1), tls=Tls(ca=CA))
    assert status_of(await gateway.call()) == 504
    assert gateway.errors[0].internal.startswith("connect: ")


async def test_a_tunnel_through_tls_ends_when_either_side_leaves(
    make_target: MakeTarget, make_gateway: MakeGateway
) -> None:
    target = await make_target(tls=server_context())

    async def echo(reader: Reader, writer: Writer) -> None:
        await target.head(reader)
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := await reader.read(1000):
            writer.write(data)

    target.script = echo
    gateway = await make_gateway(target, tls=Tls(ca=CA))
    reader, writer = await gateway.connect()
    writer.write(GET.replace(b"close", b"upgrade\r\nUpgrade: echo"))
    async with asyncio.timeout(10):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        writer.write_eof()
        assert await reader.read() == b""


async def test_a_unix_socket_is_called_as_localhost(
    make_target: MakeTarget, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    target = await make_target(socket=tmp_path / "api.sock")
    gateway = await make_gateway(target)
    assert body_of(await gateway.call(POST)) == b"a"
    assert b"\r\nHost: localhost\r\n" in target.heads[0]


async def test_a_unix_socket_that_is_not_there_is_502(make_gateway: MakeGateway, tmp_path: Path) -> None:
    gateway = await make_gateway(Target("localhost", 80, socket=str(tmp_path / "none.sock")))
    assert status_of(await gateway.call()) == 502
    assert "none.sock: No such file or directory" in gateway.errors[0].internal


async def test_a_name_without_address_is_502(make_gateway: MakeGateway) -> None:
    gateway = await make_gateway(Target("no-such-host.invalid", 80), host_header=HostHeader.CLIENT)
    assert status_of(await gateway.call()) == 502
    assert gateway.errors[0].internal.startswith("connect: http://no-such-host.invalid: ")
