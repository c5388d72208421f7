"""Who calls over a connection, as far as those in between are trusted, and what upstreams hear of it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from enum import Enum

from gateway.dataplane.head import HOST
from gateway.model.exchange import RequestHead
from gateway.model.forwarded import Fields, Hop, forwarded, last_value, trustworthy, x_forwarded_for
from gateway.model.networks import NO_NETWORKS, Networks, read_address

_PLAIN = re.compile(rb"[0-9A-Za-z._-]+")
"""What a parameter of `Forwarded` may be without quotes, of all that hosts and addresses hold."""


class TrustedHeader(Enum):
    """Where trusted proxies say who calls. The other is ignored: a proxy passes on what it does not set."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"


class ProxyProtocol(Enum):
    """Whose connections begin with a PROXY preamble. It is demanded there, and understood nowhere else."""

    OFF = "off"
    TRUSTED = "trusted"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose word about callers counts, where they say it, and whether upstreams get `Forwarded` too."""

    proxies: Networks = NO_NETWORKS
    header: TrustedHeader = TrustedHeader.X_FORWARDED_FOR
    proxy_protocol: ProxyProtocol = ProxyProtocol.OFF
    send_forwarded: bool = False

    def expects_preamble(self, peer: str) -> bool:
        """Whether a connection from `peer` must begin with a PROXY preamble."""
        if self.proxy_protocol is ProxyProtocol.TRUSTED:
            return peer in self.proxies
        return self.proxy_protocol is ProxyProtocol.ALL


NOBODY = Trust()
"""Every peer is the caller."""


def peer_address(transport: asyncio.BaseTransport) -> str:
    """The other end's address in its one spelling; `unix` for what has none."""
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple):
        return "unix"
    text: str = peer[0].partition("%")[0]
    return read_address(text) or text


class Caller:
    """Who calls. For a peer that is not trusted always the peer; else whom the trusted ones name, per call.

    `address` and `lines` hold for a head with `authority` and `said`; for another one `hear` it first.
    """

    __slots__ = ("_peer", "_scheme", "_trust", "address", "authority", "is_proxy", "lines", "said")

    def __init__(self, peer: str, scheme: bytes, trust: Trust) -> None:
        self._peer = peer
        self._scheme = scheme
        self._trust = trust
        self.is_proxy = peer in trust.proxies
        self.address = peer
        self.lines = b""  # complete header lines that tell the upstream where the call came from
        self.authority: bytes | None = None
        self.said: Fields = ()

    def hear(self, head: RequestHead) -> None:
        """Bring `address` and `lines` up to date for a call."""
        self.authority, self.said = head.authority, head.said
        chain, scheme, host = [Hop(self._peer)], self._scheme, head.authority
        if head.said:
            chain, said_scheme, said_host = self._believed(head.said)
            scheme = said_scheme if said_scheme in (b"http", b"https") else scheme
            host = said_host if HOST.fullmatch(said_host) else host
        self.address = chain[-1].address
        addresses = [hop.address.encode() for hop in reversed(chain)]
        lines = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (b", ".join(addresses), scheme)
        if host:
            lines += b"X-Forwarded-Host: %b\r\n" % host
        if self._trust.send_forwarded:
            lines += _forwarded_line(addresses, scheme, host)
        self.lines = lines

    def _believed(self, said: Fields) -> tuple[list[Hop], bytes, bytes]:
        proxies = self._trust.proxies
        if self._trust.header is TrustedHeader.FORWARDED:
            chain = trustworthy(self._peer, forwarded(said), proxies)
            return chain, chain[-1].scheme.lower(), chain[-1].host
        chain = trustworthy(self._peer, x_forwarded_for(said), proxies)
        scheme = last_value(said, b"x-forwarded-proto").lower()
        return chain, scheme, last_value(said, b"x-forwarded-host")


def _forwarded_line(addresses: list[bytes], scheme: bytes, host: bytes) -> bytes:
    """RFC 7239: an element for each hop; the first one, the caller's, also says what was asked and how."""
    elements = [
        b"for=" + _parameter(b"[%b]" % address if b":" in address else address) for address in addresses
    ]
    if host:
        elements[0] += b";host=" + _parameter(host)
    elements[0] += b";proto=" + scheme
    return b"Forwarded: %b\r\n" % b", ".join(elements)


def _parameter(value: bytes) -> bytes:
    return value if _PLAIN.fullmatch(value) else b'"%b"' % value
