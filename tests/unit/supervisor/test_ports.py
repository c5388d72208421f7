"""Ports that can not be used are told in one line, before anything is started."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from gateway.errors import StartupError
from gateway.settings import Address, Settings
from gateway.supervisor.ports import check_free, reserve

ANY = Address("127.0.0.1", 0)
SETTINGS = Settings(listen=ANY, control=ANY, portal=ANY)


def test_port_zero_becomes_a_real_one_that_nobody_else_gets() -> None:
    ports_held = reserve(SETTINGS)
    settings = ports_held.settings
    try:
        ports = {settings.listen.port, settings.control.port, settings.portal.port}
        assert len(ports) == 3
        assert 0 not in ports
    finally:
        for holder in (*ports_held.held, *(one for post in ports_held.posts for one in post)):
            holder.close()


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "127.0.0.1"])
def test_two_of_our_ports_are_never_one(host: str) -> None:
    with pytest.raises(StartupError, match=r"--portal \S+ is already taken by --listen 127.0.0.1:18080"):
        reserve(replace(SETTINGS, listen=Address("127.0.0.1", 18080), portal=Address(host, 18080)))


def test_a_taken_port_says_how_to_choose_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Address("127.0.0.1", other.getsockname()[1])
        with pytest.raises(StartupError) as refused:
            reserve(replace(SETTINGS, control=taken))
        assert str(refused.value) == (
            f"--control {taken} can not be used: Address already in use. "
            "Choose another with --control or TOLLWAY_CONTROL."
        )
        with pytest.raises(StartupError, match=r"^The port \S+ can not be used: .* End what uses it.$"):
            check_free(f"The port {taken}", taken, "End what uses it.")


def test_every_address_of_a_name_must_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        with pytest.raises(StartupError, match="already in use"):
            check_free("it", Address("two.example", port), "")


def test_a_name_that_can_not_be_one_says_so() -> None:
    with pytest.raises(StartupError, match="can not be used"):
        reserve(replace(SETTINGS, listen=Address("a" * 70 + ".example", 80)))


def test_an_unknown_name_says_so() -> None:
    with pytest.raises(StartupError, match=r"--listen no-such-host.invalid:80 can not be used: .+ Choose"):
        reserve(replace(SETTINGS, listen=Address("no-such-host.invalid", 80)))
