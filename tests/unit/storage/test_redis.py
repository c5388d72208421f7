"""Redis URLs."""

from __future__ import annotations

import ssl

import pytest

from gateway.errors import StartupError
from gateway.storage.redis import RedisAddress, Sentinels, check_redis, parse_address


@pytest.mark.parametrize(
    ("case", "url", "address", "shown"),
    [
        ("a host", "redis://cache", RedisAddress("cache", 6379), "cache:6379"),
        ("a port and a database", "redis://cache:7000/3", RedisAddress("cache", 7000, db=3), "cache:7000"),
        ("a database as an option", "redis://cache?db=4", RedisAddress("cache", 6379, db=4), "cache:6379"),
        ("no host", "redis://", RedisAddress("localhost", 6379), "localhost:6379"),
        ("IPv6", "redis://[::1]:7000", RedisAddress("::1", 7000), "[::1]:7000"),
        (
            "a password alone",
            "redis://:s%40cret@cache",
            RedisAddress("cache", 6379, password="s@cret"),
            "cache:6379",
        ),
        (
            "a user",
            "redis://gw:secret@cache",
            RedisAddress("cache", 6379, username="gw", password="secret"),
            "cache:6379",
        ),
        (
            "a socket",
            "unix:///run/redis%20a.sock?db=2",
            RedisAddress("localhost", 6379, path="/run/redis a.sock", db=2),
            "/run/redis a.sock",
        ),
        (
            "a socket with a password",
            "unix://:secret@/run/r.sock",
            RedisAddress("localhost", 6379, path="/run/r.sock", password="secret"),
            "/run/r.sock",
        ),
        (
            "TLS with files",
            "rediss://cache:6380?ssl_ca_certs=/ca.pem&ssl_certfile=/me.pem&ssl_keyfile=/me.key",
            RedisAddress(
                "cache", 6380, tls=True, ca_file="/ca.pem", certificate_file="/me.pem", key_file="/me.key"
            ),
            "cache:6380",
        ),
        (
            "Sentinels",
            "redis+sentinel://one:7001,two/mymaster",
            RedisAddress("", 0, sentinels=Sentinels((("one", 7001), ("two", 26379)), "mymaster")),
            "mymaster at one:7001, two:26379",
        ),
        (
            "Sentinels with everything",
            "rediss+sentinel://gw:s%40cret@[::1]:7001/my%20master/2?ssl_ca_certs=/ca.pem&sentinel_username=watch",
            RedisAddress(
                "",
                0,
                db=2,
                username="gw",
                password="s@cret",
                tls=True,
                ca_file="/ca.pem",
                sentinels=Sentinels((("::1", 7001),), "my master", "watch"),
            ),
            "my master at [::1]:7001",
        ),
        (
            "a cluster",
            "redis+cluster://one:7001,two/",
            RedisAddress("one", 7001, cluster=(("one", 7001), ("two", 6379))),
            "one:7001, two:6379",
        ),
        (
            "a cluster with everything",
            "rediss+cluster://gw:s%40cret@[::1]:7001?ssl_ca_certs=/ca.pem",
            RedisAddress(
                "::1",
                7001,
                username="gw",
                password="s@cret",
                tls=True,
                ca_file="/ca.pem",
                cluster=(("::1", 7001),),
            ),
            "[::1]:7001",
        ),
        (
            "TLS without checks",
            "rediss://cache?ssl_cert_reqs=none&ssl_check_hostname=false",
            RedisAddress("cache", 6379, tls=True, verify=False, check_host=False),
            "cache:6379",
        ),
    ],
)
def test_urls(case: str, url: str, address: RedisAddress, shown: str) -> None:
    parsed = parse_address(url)
    assert parsed == address, case
    assert str(parsed) == shown, case


@pytest.mark.parametrize(
    ("case", "url"),
    [
        ("another scheme", "http://hunter2@cache"),
        ("no scheme", "hunter2"),
        ("a port that is none", "redis://:hunter2@cache:port"),
        ("a database that is none", "redis://:hunter2@cache?db=hunter2"),
        ("a database in the path that is none", "redis://:hunter2@cache/hunter2"),
        ("a slash in the password", "redis://:hunter2/x@cache"),
        ("a hash in the password", "redis://:hunter2#x@cache"),
        ("a socket without a path", "unix://hunter2"),
        ("an unknown option", "redis://:hunter2@cache?socket_timeout=1"),
        ("empty", ""),
        ("Sentinels without a service", "redis+sentinel://:hunter2@one,two"),
        ("Sentinels without a host", "redis+sentinel://:hunter2@one,/mymaster"),
        ("Sentinels with a port that is none", "redis+sentinel://:hunter2@one:port/mymaster"),
        ("Sentinels and a slash in the password", "redis+sentinel://:hunter2/x@one/mymaster"),
        ("Sentinels and a database that is none", "redis+sentinel://:hunter2@one/mymaster/hunter2"),
        ("Sentinels and an unknown option", "redis+sentinel://:hunter2@one/mymaster?quorum=2"),
        ("a Sentinel's password for one server", "redis://:hunter2@one?sentinel_password=hunter2"),
        ("several servers", "redis://:hunter2@one:7001,two:7002"),
        ("a cluster and a database", "redis+cluster://:hunter2@one:7001,two:7002/1"),
        ("a cluster and a database as an option", "redis+cluster://:hunter2@one?db=1"),
        ("a cluster without a host", "redis+cluster://:hunter2@"),
        ("a cluster with a port that is none", "redis+cluster://:hunter2@one:port"),
        ("a cluster and a slash in the password", "redis+cluster://:hunter2/x@one"),
        ("a cluster behind a socket", "unix+cluster://:hunter2@/run/r.sock"),
    ],
)
def test_what_is_no_redis_url_is_one_line_without_the_password(case: str, url: str) -> None:
    with pytest.raises(StartupError) as refused:
        parse_address(url)
    message = str(refused.value)
    assert message.startswith("TOLLWAY_REDIS_URL"), case
    assert "hunter2" not in message, case
    assert "\n" not in message, case
    assert refused.value.__cause__ is None, case


def test_the_password_is_never_shown() -> None:
    address = parse_address("redis://gw:hunter2@cache")
    assert "hunter2" not in f"{address} {address!r}"


def test_tls_checks_the_certificate_and_the_name_by_default() -> None:
    context = parse_address("rediss://cache").ssl_context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_tls_checks_can_be_switched_off() -> None:
    context = parse_address("rediss://cache?ssl_cert_reqs=none").ssl_context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_without_tls_there_is_no_context() -> None:
    assert parse_address("redis://cache").ssl_context() is None


async def test_a_redis_that_is_not_there_is_one_line() -> None:
    with pytest.raises(StartupError) as refused:
        await check_redis("redis://:hunter2@127.0.0.1:1/0")
    message = str(refused.value)
    assert "127.0.0.1:1" in message
    assert "TOLLWAY_REDIS_URL" in message
    assert "hunter2" not in message
    assert "\n" not in message


async def test_a_socket_that_is_not_there_is_one_line() -> None:
    with pytest.raises(StartupError, match=r"/nowhere/redis\.sock"):
        await check_redis("unix:///nowhere/redis.sock")
