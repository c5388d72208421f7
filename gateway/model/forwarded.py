"""What proxies say about where a call comes from: `X-Forwarded-For` and `Forwarded` (RFC 7239).

Read from the right, where the nearest proxy wrote, and only as far as each word is one that can be trusted:
whatever a caller puts before it can neither be reached nor spoil what comes after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from gateway.model.networks import Networks, read_address

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields in their order, names in lower case."""

SAID_BY_PROXIES = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"))

MOST_HOPS = 32
"""Proxies in a row that are followed. Who has more has a loop."""

_NODE = re.compile(
    rb"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<four>[0-9.]{7,15}))(?::[0-9]{1,5})?|(?P<bare>[0-9A-Fa-f:.]{2,45})"
)
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
_PAIR = re.compile(rb"(%b)=(%b|%b)" % (_TOKEN, _TOKEN, _QUOTED))
_BETWEEN_PAIRS = re.compile(rb"[ \t]*;[ \t;]*")
_ESCAPED = re.compile(rb"\\(.)")


class Hop(NamedTuple):
    """What one proxy says of whom it got the call from. Empty: it says nothing, or nothing that is one."""

    address: str
    scheme: bytes = b""
    host: bytes = b""


def trustworthy(peer: str, hops: Iterator[Hop], proxies: Networks) -> list[Hop]:
    """From the peer to the caller, nearest first: each was named by one that is in `proxies`.

    Ends with the first that is not in `proxies`, and before the first that is not an address.
    """
    chain = [Hop(peer)]
    for hop in islice(hops, MOST_HOPS):
        if not hop.address or chain[-1].address not in proxies:
            break
        chain.append(hop)
    return chain


def x_forwarded_for(fields: Fields) -> Iterator[Hop]:
    """The hops of all `X-Forwarded-For` lines, nearest first."""
    for entry in _from_the_right(fields, b"x-forwarded-for"):
        yield Hop(_address(entry))


def forwarded(fields: Fields) -> Iterator[Hop]:
    """The hops of all `Forwarded` lines, nearest first.

    A comma always ends an element, within quotes too: no element that names an address needs one there, and
    an open quote can swallow nothing that a proxy adds behind it.
    """
    for entry in _from_the_right(fields, b"forwarded"):
        yield _element(entry)


def last_value(fields: Fields, name: bytes) -> bytes:
    """What the nearest proxy said in a field that may be a list; empty if nothing."""
    return next(_from_the_right(fields, name), b"")


def _from_the_right(fields: Fields, name: bytes) -> Iterator[bytes]:
    """List elements of a field's lines as if they were joined in order. Empty ones do not count."""
    for field, value in reversed(fields):
        if field == name:
            for entry in reversed(value.rsplit(b",", MOST_HOPS)):
                if stripped := entry.strip(b" \t"):
                    yield stripped


def _address(node: bytes) -> str:
    """The address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`; else empty."""
    match = _NODE.fullmatch(node)
    if match is None:
        return ""
    text = match["six"] or match["four"] or match["bare"]
    return read_address(text.decode()) or ""


def _element(entry: bytes) -> Hop:
    """`for=192.0.2.1;proto=https;host=...`, in any order, each at most once."""
    found: dict[bytes, bytes] = {}
    at = 0
    while True:
        match = _PAIR.match(entry, at)
        if match is None or (name := match[1].lower()) in found:
            return Hop("")
        found[name] = _unquoted(match[2])
        at = match.end()
        if at == len(entry):
            break
        between = _BETWEEN_PAIRS.match(entry, at)
        if between is None:
            return Hop("")
        at = between.end()
    return Hop(_address(found.get(b"for", b"")), found.get(b"proto", b""), found.get(b"host", b""))


def _unquoted(value: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", value[1:-1]) if value.startswith(b'"') else value
