"""The PROXY protocol, versions 1 and 2: a preamble in which a load balancer names the real caller.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. It says how many bytes to read next, so that
never a byte of what follows is taken from the socket: that belongs to TLS or HTTP.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from gateway.model.networks import read_address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
MOST_V2_BYTES = 4096
"""Of addresses and what else a sender adds behind them. The addresses are 36, or 216 of unix sockets."""

_V1_START = b"PROXY "
_MOST_V1_BYTES = 107
_PORT = rb"(?:0|[1-9][0-9]{0,4})"
_V1 = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?"
    rb"|(?P<family>TCP[46]) (?P<source>[0-9A-Fa-f.:]+) (?P<target>[0-9A-Fa-f.:]+) (?P<ports>%b %b))\r\n"
    % (_PORT, _PORT)
)
_LOCAL, _PROXY = 0x20, 0x21
_NO_ADDRESS, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES = {_NO_ADDRESS: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}


class PreambleInvalid(Exception):
    """The bytes are not a PROXY preamble. The message says why and repeats none of them."""


class Preamble:
    """One preamble as it comes in. Fill `room` and say how much of it with `took`, until `is_whole`."""

    __slots__ = ("_read", "is_whole", "room", "source")

    def __init__(self) -> None:
        self._read = b""
        self.room = memoryview(bytearray(len(SIGNATURE)))  # shorter than any preamble
        self.is_whole = False
        self.source: str | None = None  # whom it names; None: nobody, so the peer is the caller

    @property
    def is_begun(self) -> bool:
        """Whether there was a byte of it."""
        return bool(self._read)

    def took(self, count: int) -> None:
        """So many bytes of `room` are filled. Raises PreambleInvalid as soon as it can not become one."""
        self._read += self.room[:count]
        missing = self._missing()
        self.room = memoryview(bytearray(missing))
        if not missing:
            self.source = (
                _source_v2(self._read) if self._read.startswith(SIGNATURE) else _source_v1(self._read)
            )
            self.is_whole = True

    def _missing(self) -> int:
        """How many bytes are missing at least."""
        read = self._read
        if len(read) < len(SIGNATURE):
            if not SIGNATURE.startswith(read) and not _V1_START.startswith(read[: len(_V1_START)]):
                raise PreambleInvalid("it does not begin like one")
            return len(SIGNATURE) - len(read)
        if read.startswith(SIGNATURE):
            return _missing_v2(read)
        if not read.startswith(_V1_START):
            raise PreambleInvalid("it does not begin like one")
        if read.endswith(b"\r\n"):
            return 0
        if len(read) >= _MOST_V1_BYTES:
            raise PreambleInvalid("its line does not end")
        return 1  # byte by byte: nothing tells where the line ends


def _missing_v2(read: bytes) -> int:
    head_bytes = len(SIGNATURE) + 4
    if len(read) < head_bytes:
        return head_bytes - len(read)
    length = int.from_bytes(read[14:16], "big")
    if length > MOST_V2_BYTES:
        raise PreambleInvalid("it is too long")
    return head_bytes + length - len(read)


def _source_v2(read: bytes) -> str | None:
    """What follows the addresses (TLV) is skipped: nothing of it says who calls."""
    command, family, body = read[12], read[13], read[16:]
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise PreambleInvalid("its version or command is unknown")
    if family not in _ADDRESS_BYTES:
        raise PreambleInvalid("its address family or protocol is not one of streams")
    if len(body) < _ADDRESS_BYTES[family]:
        raise PreambleInvalid("it is too short for its addresses")
    if family == _TCP4:
        return str(IPv4Address(body[:4]))
    return read_address(str(IPv6Address(body[:16]))) if family == _TCP6 else None


def _source_v1(read: bytes) -> str | None:
    match = _V1.fullmatch(read)
    if match is None:
        raise PreambleInvalid("its line is not one of version 1")
    if match["family"] is None:
        return None
    if any(int(port) > 65535 for port in match["ports"].split()):
        raise PreambleInvalid("a port is not one")
    kind = IPv4Address if match["family"] == b"TCP4" else IPv6Address
    try:
        source, _ = (kind(match[end].decode()) for end in ("source", "target"))
    except ValueError:
        raise PreambleInvalid("an address is not one of its family") from None
    return read_address(str(source))
