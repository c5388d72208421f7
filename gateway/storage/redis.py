"""Where Redis is and whether it is one we can use, with one clear line when it is not."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import parse_url

from gateway.errors import StartupError

SETTING = "TOLLWAY_REDIS_URL"
CHECK_TIMEOUT_S = 5.0
OLDEST_VERSION = (6, 2)
DEFAULT_PORT = 6379
_UNDERSTOOD = frozenset(
    {"host", "port", "path", "db", "username", "password", "connection_class"}
    | {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis listens and who we are to it. `str()` is safe to show, and so is `repr()`."""

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

    def __str__(self) -> str:
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

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
    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py has no types here
        parts = urlsplit(url)
        options.setdefault("port", parts.port or DEFAULT_PORT)
        options["db"] = int(options.get("db", 0))
        verify = options.get("ssl_cert_reqs", "required") != "none"
    except (ValueError, TypeError):
        raise _not_understood() from None
    # An `@` behind the host, or a fragment, comes from a password that was not percent-encoded.
    if "@" in parts.path or parts.fragment or (parts.scheme == "unix") != bool(options.get("path")):
        raise _not_understood()
    if unknown := sorted(options.keys() - _UNDERSTOOD):
        names = ", ".join(unknown)
        raise StartupError(f"{SETTING} has an option that is not understood: {names}. Remove it.")
    return RedisAddress(
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


def _not_understood() -> StartupError:
    return StartupError(
        f"{SETTING} is not a Redis URL. Write redis://user:password@host:6379/0, rediss://... for TLS or "
        "unix:///path/to/redis.sock, with special characters in the password percent-encoded."
    )


async def check_redis(url: str) -> None:
    """Return when the Redis at `url` can be used; else StartupError with one line that names it."""
    address = parse_address(url)
    try:
        client = _client(address)
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                server: dict[str, Any] = await client.info("server")
        finally:
            await client.aclose()
    except TimeoutError:
        reason = f"no answer within {CHECK_TIMEOUT_S:.0f} s. Check {SETTING}."
    except (redis.exceptions.RedisError, OSError) as error:
        reason = _reason(error, address)
    else:
        _check_version(str(server.get("redis_version", "0")), address)
        return
    raise StartupError(f"Can not use Redis at {address}: {reason}") from None


def _client(address: RedisAddress) -> redis.asyncio.Redis:
    where: dict[str, Any] = {"host": address.host, "port": address.port}
    if address.path is not None:
        where = {"unix_socket_path": address.path}
    elif address.tls:
        where |= {
            "ssl": True,
            "ssl_ca_certs": address.ca_file,
            "ssl_certfile": address.certificate_file,
            "ssl_keyfile": address.key_file,
            "ssl_cert_reqs": "required" if address.verify else "none",
            "ssl_check_hostname": address.verify and address.check_host,
        }
    return redis.asyncio.Redis(
        db=address.db,
        username=address.username,
        password=address.password,
        socket_timeout=None,
        socket_connect_timeout=None,
        protocol=2,  # without HELLO, whose refusals read differently
        retry=Retry(NoBackoff(), 0),
        **where,
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
    if isinstance(said, redis.exceptions.BusyLoadingError):
        return "it is still loading its data. Try again shortly."
    text = " ".join(str(error).split()).rstrip(".")
    if address.password:
        text = text.replace(address.password, "***")
    return f"{text}. Start it, or correct {SETTING}."
