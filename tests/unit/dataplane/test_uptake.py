from __future__ import annotations

import asyncio
import math
import socket

from gateway.dataplane.uptake import Uptake, quiet_s, unsent_bytes
from gateway.pace import Pace


def test_what_is_taken_is_what_is_no_longer_left() -> None:
    uptake = Uptake(Pace(30.0, 100))
    assert uptake.deadline(0.0, 100_000) == 30.0
    assert uptake.deadline(20.0, 99_500) == 35.0
    assert uptake.deadline(30.0, 99_500) == 35.0


def test_what_is_written_meanwhile_is_not_held_against_anybody() -> None:
    uptake = Uptake(Pace(30.0, 100))
    uptake.deadline(0.0, 100_000)
    assert uptake.deadline(20.0, 300_000) == 30.0
    assert uptake.deadline(20.0, 299_500) == 35.0


def test_the_time_runs_only_while_it_holds_us_up() -> None:
    uptake = Uptake(Pace(30.0, 1_000_000))
    uptake.deadline(0.0, 100_000)
    uptake.caught_up(20.0, 100_000)
    assert uptake.deadline(500.0, 2_000_000) == 510.0, "the next answer is written at once"
    uptake.caught_up(505.0, 0)
    assert uptake.deadline(600.0, 100_000) == 607.0


def test_catching_up_without_having_been_looked_at_is_nothing() -> None:
    uptake = Uptake(Pace(30.0, 100))
    uptake.caught_up(20.0, 100_000)
    assert uptake.deadline(100.0, 50_000) == 130.0


async def test_bytes_in_the_kernel_are_unsent_until_they_arrive() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        assert unsent_bytes(transport) == 0
        transport.write(bytes(5000))
        assert transport.get_write_buffer_size() == 0
        assert unsent_bytes(transport) >= 5000
        transport.write(bytes(10_000_000))
        assert unsent_bytes(transport) > transport.get_write_buffer_size() > 0
        transport.abort()
        await asyncio.sleep(0)
        assert unsent_bytes(transport) == 0


async def test_how_long_nothing_came_is_known_of_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    with theirs:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        async with asyncio.timeout(20):
            while quiet_s(transport) < 0.1:
                await asyncio.sleep(0)
            while quiet_s(transport) >= 0.1:
                theirs.sendall(b"x")
                await asyncio.sleep(0)
        transport.abort()
        await asyncio.sleep(0)
        assert quiet_s(transport) == math.inf


async def test_of_other_sockets_it_is_not_known() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        assert quiet_s(transport) == math.inf
        transport.abort()
        await asyncio.sleep(0)
