"""The small languages of upstreams: where they listen and which files secure the way there.

Like `texts`: every `check_...` returns its text when it is good and raises `ValueError` in words otherwise.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

from gateway.policy.problems import shown
from gateway.policy.texts import HOST

_HOST_AND_PORT = r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(:[1-9][0-9]{0,4})?"
_SOCKET = r"(/[A-Za-z0-9._@%+=:,~-]+)+"
TARGET = rf"^(https?://{_HOST_AND_PORT}|unix:{_SOCKET})$"
FILE = r"^/[^\x00-\x1f\x7f]{1,1023}$"
REQUEST_TARGET = r"^/[!-~]{0,1023}$"
LONGEST_SOCKET = 100
"""Linux takes 107 bytes, others a few less."""


class TargetParts(NamedTuple):
    """What a checked target says. `socket` is the path of a unix socket, else empty."""

    host: str
    port: int
    tls: bool = False
    socket: str = ""


def check_target(value: object) -> str:
    """`http://host[:port]`, `https://host[:port]` or `unix:/path` and nothing more."""
    text = value if isinstance(value, str) else ""
    if re.fullmatch(TARGET, text) is None:
        raise ValueError(
            "must be http://host, https://host (both with or without :port) or unix:/path of a socket, "
            "without path, query or credentials, such as http://127.0.0.1:9000"
        )
    parts = target_parts(text)
    if parts.port > 65535:
        raise ValueError(f"must have a port of at most 65535, got {parts.port}")
    if len(parts.socket) > LONGEST_SOCKET:
        raise ValueError(f"must have a socket path of at most {LONGEST_SOCKET} characters")
    if not parts.socket:
        _check_address(parts.host)
    return text


def target_parts(text: str) -> TargetParts:
    """Host (lower case, no brackets) and port of a well-shaped target, or its socket."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        return TargetParts("localhost", 80, socket=rest)
    rest = rest.removeprefix("//").lower()
    host, colon, port = rest.rpartition(":") if not rest.endswith("]") else (rest, "", "")
    if not colon:
        host, port = rest, "443" if scheme == "https" else "80"
    return TargetParts(host.strip("[]"), int(port), tls=scheme == "https")


def check_file(value: object) -> str:
    """An absolute path. Whether it can be read is seen where it is used: by the workers."""
    if isinstance(value, str) and re.fullmatch(FILE, value):
        return value
    raise ValueError(f"must be an absolute path such as /etc/tollway/ca.pem, got {shown(value)}")


def check_request_target(value: object) -> str:
    """A path with or without query, sent as it is written."""
    if isinstance(value, str) and re.fullmatch(REQUEST_TARGET, value) and "#" not in value:
        return value
    raise ValueError(f"must be a path such as /healthz, may have a query, got {shown(value)}")


def _check_address(host: str) -> None:
    try:
        if ":" in host:
            IPv6Address(host)
        elif host.rstrip(".").rpartition(".")[2].isdigit():
            IPv4Address(host)
        elif re.fullmatch(HOST, host) is None:
            raise ValueError("must name a valid host such as api.internal or 127.0.0.1")
    except AddressValueError as error:
        raise ValueError("must name a valid host: this IP address is not one") from error
