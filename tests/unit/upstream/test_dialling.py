"""One dead address does not break a target; sockets on 127.0.0.1, names of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import UpstreamTimeout, UpstreamUnreachable
from gateway.model.policies import Target, Tls
from gateway.tasks import Tasks
from gateway.upstream.dialling import Dialler
from gateway.upstream.names import Names
from gateway.upstream.tls import TlsFiles


class Listener:
    """A port on 127.0.0.1 that counts; every other address of 127.0.0.0/8 refuses."""

    def __init__(self, port: int) -> None:
        self.addresses: tuple[str, ...] = ("127.0.0.1",)
        self.now = 0.0
        names = Names(Tasks(), self._look_up, lambda: self.now)
        self.own: set[str] = set()  # addresses at which this port is the gateway's
        self.judged: list[str] = []
        self.dialler = Dialler(Target("api.internal", port), TlsFiles(Tls()), None, names, self._objection)

    def _objection(self, target: Target) -> str | None:
        self.judged.append(target.host)
        return "is this gateway itself" if target.host in self.own else None

    async def _look_up(self, host: str) -> tuple[str, ...]:
        assert host == "api.internal"
        return self.addresses

    async def dial(self) -> str:
        """The address that was connected to."""
        protocol = await self.dialler.dial(Connected, 5)
        address = str(protocol.transport.get_extra_info("peername")[0])
        protocol.transport.abort()
        await protocol.lost.wait()
        return address


class Connected(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    first = await asyncio.start_server(_hang_up, "127.0.0.1", 0)
    port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(_hang_up, "127.0.0.2", port)
    yield Listener(port)
    for server in (first, second):
        server.close()
        await server.wait_closed()


async def test_addresses_are_used_in_turn(listener: Listener) -> None:
    listener.addresses = ("127.0.0.1", "127.0.0.2")
    assert {await listener.dial() for _ in range(2)} == {"127.0.0.1", "127.0.0.2"}


async def test_a_dead_address_is_passed_over_and_then_tried_last(listener: Listener) -> None:
    listener.addresses = ("127.0.0.3", "127.0.0.1", "127.0.0.2")
    assert "127.0.0.3" not in [await listener.dial() for _ in range(6)]
    assert set(listener.dialler._dead_until) == {"127.0.0.3"}


async def test_an_address_that_was_dead_gets_another_chance(listener: Listener) -> None:
    listener.addresses = ("127.0.0.1", "127.0.0.2")
    listener.dialler._dead_until = {"127.0.0.1": 0.0}
    assert {await listener.dial() for _ in range(2)} == {"127.0.0.1", "127.0.0.2"}


@pytest.mark.parametrize(
    ("case", "addresses", "said"),
    [
        ("all dead", ("127.0.0.3", "127.0.0.4"), "connect: http://api.internal:"),
        ("none at all", (), "the name has no address"),
    ],
)
async def test_no_way_is_said(case: str, addresses: tuple[str, ...], said: str, listener: Listener) -> None:
    listener.addresses = addresses
    with pytest.raises(UpstreamUnreachable) as refusal:
        await listener.dial()
    assert said in refusal.value.internal
    assert refusal.value.detail == UpstreamUnreachable.default_detail


async def test_a_name_that_has_come_to_lead_to_the_gateway_itself_is_not_followed(listener: Listener) -> None:
    listener.addresses = ("127.0.0.2",)
    assert await listener.dial() == "127.0.0.2"
    listener.addresses, listener.own, listener.now = ("127.0.0.1",), {"127.0.0.1"}, 60.0
    with pytest.raises(UpstreamUnreachable) as refusal:
        await listener.dial()
    assert refusal.value.internal.endswith(": 127.0.0.1 is this gateway itself")
    assert refusal.value.detail == UpstreamUnreachable.default_detail
    listener.addresses, listener.now = ("127.0.0.1", "127.0.0.2"), 120.0
    assert [await listener.dial() for _ in range(4)] == ["127.0.0.2"] * 4
    assert listener.judged == ["127.0.0.2", "127.0.0.1"], "each once"


async def test_a_socket_that_has_come_to_lead_to_the_gateway_itself_is_not_used(tmp_path: Path) -> None:
    def objection(target: Target) -> str | None:
        return "is the Redis of this gateway" if Path(target.socket).is_symlink() else None

    server = await asyncio.start_unix_server(_hang_up, tmp_path / "api.sock")
    target = Target("localhost", 80, socket=str(tmp_path / "api.sock"))
    dialler = Dialler(target, TlsFiles(Tls()), None, Names(Tasks()), objection)
    connected = await dialler.dial(Connected, 5)
    await connected.lost.wait()
    (tmp_path / "api.sock").rename(tmp_path / "other.sock")
    (tmp_path / "api.sock").symlink_to(tmp_path / "other.sock")
    with pytest.raises(UpstreamUnreachable) as refusal:
        await dialler.dial(Connected, 5)
    assert refusal.value.internal.endswith("is the Redis of this gateway")
    server.close()


async def test_a_resolver_that_hangs_is_a_timeout() -> None:
    async def hang(host: str) -> tuple[str, ...]:
        await asyncio.Event().wait()
        raise AssertionError

    tasks = Tasks()
    dialler = Dialler(Target("api", 80), TlsFiles(Tls()), None, Names(tasks, hang))
    with pytest.raises(UpstreamTimeout, match=UpstreamTimeout.default_detail) as late:
        await dialler.dial(Connected, 0.01)
    assert late.value.internal == "connect: http://api: no connection within 0.01 s"
    await tasks.close()
