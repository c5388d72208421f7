"""No upstream is the gateway itself, whatever it is called."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gateway.policy.target_texts import TargetParts
from gateway.settings import Address, Settings
from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis
from gateway.supervisor.own_ports import overlap, own_ports_objection

SETTINGS = Settings(
    listen=Address("0.0.0.0", 8080), control=Address("127.0.0.1", 8090), portal=Address("::1", 8091)
)


@pytest.mark.parametrize(
    ("case", "host", "port", "named"),
    [
        ("the control port", "127.0.0.1", 8090, "--control 127.0.0.1:8090"),
        ("by the name of loopback", "localhost", 8090, "--control"),
        ("by another address of loopback", "127.0.0.2", 8090, "--control"),
        ("by loopback's other family", "::1", 8090, "--control"),
        ("by IPv4 written as IPv6", "::ffff:127.0.0.1", 8090, "--control"),
        ("by the address that means here", "0.0.0.0", 8090, "--control"),
        ("by the one of IPv6", "::", 8090, "--control"),
        ("the portal", "127.0.0.1", 8091, "--portal [::1]:8091"),
        ("the public port, round and round", "127.0.0.1", 8080, "--listen 0.0.0.0:8080"),
        ("the public port of every interface", "localhost", 8080, "--listen"),
    ],
)
def test_a_target_that_is_the_gateway_is_named(case: str, host: str, port: int, named: str) -> None:
    said = own_ports_objection(SETTINGS)(TargetParts(host, port))
    assert said is not None
    assert named in said
    assert "is this gateway itself" in said


@pytest.mark.parametrize(
    ("case", "host", "port"),
    [
        ("another port of this machine", "127.0.0.1", 9000),
        ("our port on another machine", "192.0.2.7", 8090),
        ("our public port on another machine", "192.0.2.7", 8080),
        ("our port at a name nobody knows", "no-such-host.invalid", 8090),
    ],
)
def test_other_targets_are_fine(case: str, host: str, port: int) -> None:
    assert own_ports_objection(SETTINGS)(TargetParts(host, port)) is None


def test_names_are_looked_up_only_for_our_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> object:
        raise AssertionError("looked up")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    assert own_ports_objection(SETTINGS)(TargetParts("api.internal", 443)) is None


def test_a_network_card_leads_to_the_port_of_every_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.supervisor.own_ports._is_ours", lambda ip: str(ip) == "192.0.2.7")
    objection = own_ports_objection(SETTINGS)
    assert objection(TargetParts("192.0.2.7", 8080)) is not None
    assert objection(TargetParts("192.0.2.8", 8080)) is None
    assert objection(TargetParts("192.0.2.7", 8090)) is None, "the control port listens on loopback only"


def test_a_port_of_one_network_card_is_that_address_only() -> None:
    settings = Settings(control=Address("192.0.2.7", 8090))
    assert own_ports_objection(settings)(TargetParts("192.0.2.7", 8090)) is not None
    assert own_ports_objection(settings)(TargetParts("127.0.0.1", 8090)) is None


def said_of(path: Path, settings: Settings) -> str | None:
    return own_ports_objection(settings)(TargetParts("localhost", 80, socket=str(path)))


def test_the_sockets_of_the_private_servers_are_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    redis = EmbeddedRedis(settings.data_dir).socket_path
    assert said_of(redis, settings) == "is the Redis of this gateway; write the socket of the API"
    postgres = EmbeddedPostgres(settings.data_dir).socket_path
    assert said_of(postgres, settings) == "is PostgreSQL; write the socket of the API"


def test_they_are_found_where_long_paths_put_them(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / ("d" * 100))
    redis = EmbeddedRedis(settings.data_dir).socket_path
    assert not redis.is_relative_to(settings.data_dir)
    assert "is the Redis" in str(said_of(redis, settings))


def test_a_link_to_one_is_the_same(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    (tmp_path / "link").symlink_to(settings.data_dir)
    redis = EmbeddedRedis(settings.data_dir).socket_path
    assert "is the Redis" in str(said_of(tmp_path / "link" / redis.parent.name / redis.name, settings))
    redis.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(redis))
        os.link(redis, tmp_path / "other.sock")
    assert "is the Redis" in str(said_of(tmp_path / "other.sock", settings))


def test_configured_servers_are_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", redis_url=f"unix://{tmp_path}/redis.sock")
    assert "is the Redis" in str(said_of(tmp_path / "redis.sock", settings))
    assert said_of(tmp_path / ".s.PGSQL.5432", settings) == "is PostgreSQL; write the socket of the API"


def test_nothing_in_the_data_folder_is_an_api(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", redis_url="redis://127.0.0.1:6379")
    assert "is inside this gateway's data folder" in str(said_of(tmp_path / "data" / "x.sock", settings))


def test_other_sockets_are_fine(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    for name in ("api.sock", "data.sock", "redis.sock"):
        assert said_of(tmp_path / name, settings) is None


STORES = Settings(
    database_url="postgresql://tollway:hunter2@192.0.2.5:6432/tollway", redis_url="redis://127.0.0.1:6380/0"
)


@pytest.mark.parametrize(
    ("case", "host", "port", "named"),
    [
        ("PostgreSQL by its address", "192.0.2.5", 6432, "is the PostgreSQL of this gateway"),
        ("by another name of it", "db.internal", 6432, "is the PostgreSQL of this gateway"),
        ("Redis by its address", "127.0.0.1", 6380, "is the Redis of this gateway"),
        ("by the name of loopback", "localhost", 6380, "is the Redis of this gateway"),
        ("by a network card of this machine", "192.0.2.7", 6380, "is the Redis of this gateway"),
    ],
)
def test_configured_servers_are_no_targets(
    case: str, host: str, port: int, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names_mean(monkeypatch, {"db.internal": "192.0.2.5", "localhost": "127.0.0.1"})
    monkeypatch.setattr("gateway.supervisor.own_ports._is_ours", lambda ip: str(ip) == "192.0.2.7")
    said = str(own_ports_objection(STORES)(TargetParts(host, port)))
    assert said == f"{named}; write the address of the API"


@pytest.mark.parametrize("port", [7001, 7002])
def test_no_node_of_a_cluster_is_a_target(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names_mean(monkeypatch, {})
    settings = Settings(redis_url="redis+cluster://:hunter2@192.0.2.5:7001,192.0.2.5:7002")
    said = str(own_ports_objection(settings)(TargetParts("192.0.2.5", port)))
    assert said == "is the Redis of this gateway; write the address of the API"


def test_a_name_that_only_the_url_knows_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    names_mean(monkeypatch, {})
    settings = Settings(database_url="postgresql://DB.internal/tollway", redis_url="rediss://Cache.internal")
    assert "is the PostgreSQL" in str(own_ports_objection(settings)(TargetParts("db.internal", 5432)))
    assert "is the Redis" in str(own_ports_objection(settings)(TargetParts("cache.internal", 6379)))
    assert own_ports_objection(settings)(TargetParts("api.internal", 6379)) is None


@pytest.mark.parametrize(
    ("case", "host", "port"),
    [
        ("another port of that machine", "192.0.2.5", 80),
        ("that port of another machine", "192.0.2.6", 6432),
        ("the port of our Redis on another machine", "192.0.2.6", 6380),
    ],
)
def test_what_is_beside_them_is_fine(case: str, host: str, port: int) -> None:
    assert own_ports_objection(STORES)(TargetParts(host, port)) is None


def names_mean(monkeypatch: pytest.MonkeyPatch, known: dict[str, str]) -> None:
    """A resolver that knows these names, and addresses."""
    look_up = socket.getaddrinfo

    def found(host: str, *others: object, **named: object) -> object:
        if host not in known and not host[0].isdigit():
            raise socket.gaierror
        return look_up(known.get(host, host), None, type=socket.SOCK_STREAM)

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.parametrize(
    ("case", "one", "other", "same"),
    [
        ("the same", "127.0.0.1:80", "127.0.0.1:80", True),
        ("a name for it", "127.0.0.1:80", "localhost:80", True),
        ("every interface", "127.0.0.1:80", "0.0.0.0:80", True),
        ("another port", "127.0.0.1:80", "127.0.0.1:81", False),
        ("another address", "127.0.0.1:80", "127.0.0.2:80", False),
        ("another family", "127.0.0.1:80", "[::1]:80", False),
        ("every interface of another family", "0.0.0.0:80", "[::]:80", False),
    ],
)
def test_listeners_that_would_share_a_port(case: str, one: str, other: str, same: bool) -> None:
    assert overlap(Address.parse(one), Address.parse(other)) is same
    assert overlap(Address.parse(other), Address.parse(one)) is same
