"""Where Redis is, by its URL, and whether it is one we can use, with one clear line when it is not."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url

from gateway.errors import StartupError
from gateway.storage.hash_slots import SLOTS

SETTING = "TOLLWAY_REDIS_URL"
CHECK_TIMEOUT_S = 5.0
SENTINEL_WITHIN_S = 0.5
"""For one Sentinel to answer, before the next is asked."""
OLDEST_VERSION = (6, 2)
DEFAULT_PORT, SENTINEL_PORT = 6379, 26379
SENTINEL, CLUSTER = "+sentinel", "+cluster"
_TLS_OPTIONS = frozenset(
    {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)
_UNDERSTOOD = _TLS_OPTIONS | {"host", "port", "path", "db", "username", "password", "connection_class"}
_UNDERSTOOD_OF_SENTINEL = _UNDERSTOOD - {"path"} | {"sentinel_username", "sentinel_password"}


Place = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Who knows where the primary of a service is, and who we are to them."""

    places: tuple[Place, ...]
    service: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.service} at {', '.join(_place(host, port) for host, port in self.places)}"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis listens and who we are to it. `str()` is safe to show, and so is `repr()`.

    With `sentinels` host and port mean nothing before `sentinel.locate` has asked them. `cluster`: nodes of a
    Redis Cluster, which know the others; the first of them stands as host and port.
    """

    host: str
    port: int
    path: str | None = None  # of a unix socket; host and port mean nothing then
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    verify: bool = True
    check_host: bool = True
    sentinels: Sentinels | None = None
    cluster: tuple[Place, ...] = ()

    def __str__(self) -> str:
        if self.sentinels is not None:
            return str(self.sentinels)
        if self.cluster:
            return ", ".join(_place(host, port) for host, port in self.cluster)
        return self.path if self.path is not None else _place(self.host, self.port)

    def ssl_context(self) -> ssl.SSLContext | None:
        """How to speak TLS with it; None when the URL does not ask for TLS."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = self.verify and self.check_host
        if not self.verify:
            context.verify_mode = ssl.CERT_NONE
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def parse_address(url: str) -> RedisAddress:
    """The address in `url`. StartupError when it is not a Redis URL; it is never repeated."""
    scheme = url.partition("://")[0]
    if scheme.endswith(SENTINEL):
        return _parse_sentinels(url.replace(SENTINEL, "", 1))
    if scheme.endswith(CLUSTER):
        return _parse_cluster(url.replace(CLUSTER, "", 1))
    return _parse(url, _UNDERSTOOD)[0]


def _parse_sentinels(url: str) -> RedisAddress:
    """`redis://user:password@host:port,host:port/service/db?options`, its `+sentinel` taken away."""
    scheme, _, rest = url.partition("://")
    place, mark, query = rest.partition("?")
    netloc, _, path = place.partition("/")
    login, at, hosts = netloc.rpartition("@")
    service, _, db = path.partition("/")
    if not service or "@" in path:
        raise StartupError(
            f"{SETTING} names Sentinels and no service. Write the name that they monitor behind them: "
            "redis+sentinel://host:26379,host:26379/mymaster"
        )
    places = tuple(_place_in(text, SENTINEL_PORT) for text in hosts.split(","))
    plain = f"{scheme}://{login}{at}sentinels/{db}{mark}{query}"
    address, options = _parse(plain, _UNDERSTOOD_OF_SENTINEL)
    user, password = options.get("sentinel_username"), options.get("sentinel_password")
    return replace(address, host="", port=0, sentinels=Sentinels(places, unquote(service), user, password))


def _parse_cluster(url: str) -> RedisAddress:
    """`redis://user:password@host:port,host:port?options`, its `+cluster` taken away."""
    scheme, _, rest = url.partition("://")
    place, mark, query = rest.partition("?")
    login, at, hosts = place.rpartition("@")
    hosts = hosts.rstrip("/")
    if "/" in hosts:
        raise StartupError(
            f"{SETTING} names a database, and a cluster has none. Remove what is behind the /."
        )
    places = tuple(_place_in(text, DEFAULT_PORT) for text in hosts.split(","))
    address, _ = _parse(f"{scheme}://{login}{at}cluster{mark}{query}", _UNDERSTOOD - {"path"})
    if address.db:
        raise StartupError(f"{SETTING} names a database, and a cluster has none. Remove it.")
    return replace(address, host=places[0][0], port=places[0][1], cluster=places)


def _place_in(text: str, default_port: int) -> Place:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or default_port
    except ValueError:
        raise _not_understood() from None
    if not host:
        raise _not_understood()
    return host, port


def _parse(url: str, understood: frozenset[str]) -> tuple[RedisAddress, dict[str, Any]]:
    if "," in urlsplit(url).netloc.rpartition("@")[2]:
        raise StartupError(
            f"{SETTING} names several hosts. Write redis+sentinel://host:26379,host:26379/service if they "
            "are Sentinels, redis+cluster://host:6379,host:6379 if they are a cluster, or the one server."
        )
    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has no types here
        parts = urlsplit(url)
        options.setdefault("port", parts.port or DEFAULT_PORT)
        options["db"] = int(options.get("db", 0))
        verify = options.get("ssl_cert_reqs", "required") != "none"
    except (ValueError, TypeError):
        raise _not_understood() from None
    if parts.scheme != "unix" and parts.path.strip("/") and not parts.path[1:].isdigit():
        raise _not_understood()
    # An `@` behind the host, or a fragment, comes from a password that was not percent-encoded.
    if "@" in parts.path or parts.fragment or (parts.scheme == "unix") != bool(options.get("path")):
        raise _not_understood()
    if unknown := sorted(options.keys() - understood):
        names = ", ".join(unknown)
        raise StartupError(f"{SETTING} has an option that is not understood: {names}. Remove it.")
    address = RedisAddress(
        host=options.get("host", "localhost"),
        port=options["port"],
        path=options.get("path"),
        db=options["db"],
        username=options.get("username"),
        password=options.get("password"),
        tls=parts.scheme == "rediss",
        ca_file=options.get("ssl_ca_certs"),
        certificate_file=options.get("ssl_certfile"),
        key_file=options.get("ssl_keyfile"),
        verify=verify,
        check_host=str(options.get("ssl_check_hostname", "true")).lower() not in {"false", "0", "no"},
    )
    return address, options


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _not_understood() -> StartupError:
    return StartupError(
        f"{SETTING} is not a Redis URL. Write redis://user:password@host:6379/0, rediss://... for TLS, "
        "unix:///path/to/redis.sock, redis+sentinel://host:26379,host:26379/service or "
        "redis+cluster://host:6379,host:6379, with special characters in the password percent-encoded."
    )


KEEPS_ALL = "noeviction"


async def check_redis(url: str) -> None:
    """Return when the Redis at `url` can be used; else StartupError with one line that names it.

    Of a cluster it is enough that one of the nodes in `url` answers.
    """
    address = parse_address(url)
    nodes = [replace(address, host=host, port=port) for host, port in address.cluster] or [address]
    reason = ""
    for node in nodes:
        try:
            server = await _told_by(node)
        except TimeoutError:
            reason = f"no answer within {CHECK_TIMEOUT_S:.0f} s. Check {SETTING}."
        except (redis.exceptions.RedisError, OSError) as error:
            reason = _reason(error, address)
        else:
            _check_server(server, address)
            return
    raise StartupError(f"Can not use Redis at {address}: {reason}") from None


async def evicting(url: str) -> str | None:
    """The `maxmemory-policy` of a Redis that drops keys when its memory is full; None if it keeps them all.

    Of a cluster, that of the first node in `url` that drops any. Raises RedisError or OSError.
    """
    address = parse_address(url)
    for node in [replace(address, host=host, port=port) for host, port in address.cluster] or [address]:
        if (policy := _evicts(await _told_by(node))) is not None:
            return policy
    return None


def _evicts(server: dict[str, Any]) -> str | None:
    policy = str(server.get("maxmemory_policy", KEEPS_ALL))
    return policy if int(server.get("maxmemory", 0)) and policy != KEEPS_ALL else None


async def _told_by(address: RedisAddress) -> dict[str, Any]:
    """What a server says about itself, and about its cluster."""
    client = client_of(address)
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            server: dict[str, Any] = await client.info("server")
            server |= await client.info("replication")
            server |= await client.info("memory")
            if server.get("redis_mode") == "cluster":
                asked = client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]  # no types
                said: bytes = await asked
                server |= dict(line.partition(":")[::2] for line in said.decode().splitlines())
            return server
    finally:
        await client.aclose()


def connect(url: str, *, timeout_s: float | None = None) -> redis.asyncio.Redis:
    """A client for everything that is not on a call's path. Behind Sentinels it follows the primary."""
    address = parse_address(url)
    if address.sentinels is None:
        return redis.asyncio.Redis.from_url(url, socket_timeout=timeout_s)
    return client_of(address, socket_timeout=timeout_s)


class _Following(redis.asyncio.Redis):
    """A client of the primary that closes its clients of the Sentinels, too."""

    asked: Sentinel

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        for one in self.asked.sentinels:
            await one.aclose()


def client_of(address: RedisAddress, **options: Any) -> redis.asyncio.Redis:
    """A client of the server at `address`, of the primary behind Sentinels, or of a cluster's one node."""
    known: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "protocol": 2,  # without HELLO, whose refusals read differently
        "retry": Retry(NoBackoff(), 0),
        **_tls_options(address),
        **options,
    }
    if address.sentinels is not None:
        asked = sentinels_of(address)
        made = asked.master_for(address.sentinels.service, redis_class=_Following, **known)
        assert isinstance(made, _Following), "the class that it is told to make"
        made.asked = asked
        return made
    if address.path is not None:
        return redis.asyncio.Redis(unix_socket_path=address.path, **known)
    return redis.asyncio.Redis(host=address.host, port=address.port, **known)


def sentinels_of(address: RedisAddress) -> Sentinel:
    """Clients of the Sentinels, who are asked in turn. Close each one."""
    assert address.sentinels is not None, "asked of a service alone"
    options = {
        "username": address.sentinels.username,
        "password": address.sentinels.password,
        "socket_timeout": SENTINEL_WITHIN_S,
        "socket_connect_timeout": SENTINEL_WITHIN_S,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        **_tls_options(address),
    }
    places = address.sentinels.places
    return Sentinel(places, sentinel_kwargs=options)  # type: ignore[no-untyped-call]  # redis-py has no types here


def _tls_options(address: RedisAddress) -> dict[str, Any]:
    if not address.tls:
        return {}
    return {
        "ssl": True,
        "ssl_ca_certs": address.ca_file,
        "ssl_certfile": address.certificate_file,
        "ssl_keyfile": address.key_file,
        "ssl_cert_reqs": "required" if address.verify else "none",
        "ssl_check_hostname": address.verify and address.check_host,
    }


def _check_server(server: dict[str, Any], address: RedisAddress) -> None:
    """Whether it is new enough, and takes our writes: all of them."""
    is_node = server.get("redis_mode") == "cluster"
    if is_node and not address.cluster:
        raise StartupError(
            f"The Redis at {address} is a node of a cluster. Set {SETTING} to the cluster: "
            "redis+cluster://host:6379,host:6379"
        )
    if address.cluster and not is_node:
        raise StartupError(f"The Redis at {address} is no cluster. Write redis://... in {SETTING}.")
    if is_node and server.get("cluster_slots_assigned") != str(SLOTS):
        raise StartupError(
            f"Only {server.get('cluster_slots_assigned')} of the {SLOTS} hash slots of the cluster at "
            f"{address} are assigned to nodes. Assign all (`redis-cli --cluster check` says which), "
            "then start again."
        )
    if server.get("role") == "slave" and not is_node:
        raise StartupError(
            f"The Redis at {address} is a replica and takes no writes. Set {SETTING} to its primary, or to "
            "Sentinels that know it: redis+sentinel://host:26379,host:26379/service"
        )
    _check_version(str(server.get("redis_version", "0")), address)
    if (policy := _evicts(server)) is not None:
        raise StartupError(
            f"The Redis at {address} drops keys when its memory is full (maxmemory-policy {policy}), and "
            "with them what customers have used. Set maxmemory-policy noeviction, or use a Redis of its own."
        )


def _check_version(version: str, address: RedisAddress) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise StartupError(f"Redis {oldest} or newer is needed; the server at {address} is {version}.")


def _reason(error: Exception, address: RedisAddress) -> str:
    """What went wrong and how to mend it. redis-py wraps what Redis said while the connection was made."""
    said = error.__cause__ or error
    if isinstance(said, redis.exceptions.AuthenticationError | redis.exceptions.NoPermissionError):
        return f"it refused the log-in. Check user and password in {SETTING}."
    if isinstance(said, MasterNotFoundError):
        return f"no Sentinel knows a primary of that service. Check them and the name in {SETTING}."
    if isinstance(said, redis.exceptions.BusyLoadingError):
        return "it is still loading its data. Try again shortly."
    text = " ".join(str(error).split()).rstrip(".")
    if address.password:
        text = text.replace(address.password, "***")
    return f"{text}. Start it, or correct {SETTING}."


def script_name(source: str) -> str:
    """What Redis calls a script."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def field_of(info: bytes, name: bytes) -> bytes:
    """The value of a field in what INFO says; empty if it does not."""
    for line in info.splitlines():
        if line.startswith(name + b":"):
            return line[len(name) + 1 :]
    return b""
