"""From parsed header fields to a `RequestHead`, or a refusal.

Three kinds of fields: those that only travel are kept as bytes, those we read or set are taken out and
checked, and those that would let a caller speak for us (identity, forwarding, method override) are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.dataplane.methods import METHODS_OF_RTSP
from gateway.errors import (
    BadRequest,
    ExpectationUnknown,
    HeadTooLarge,
    MethodRefused,
    NotImplementedHere,
    TargetTooLong,
    VersionRefused,
)
from gateway.model.changes import folded
from gateway.model.exchange import RequestHead
from gateway.model.forwarded import SAID_BY_PROXIES
from gateway.routing.path import canonical_path

MAX_TARGET_BYTES = 8192
MAX_HEADER_LINES = 128

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization"
    b" te trailer transfer-encoding upgrade".split()
)
"""Meant for the next hop only (RFC 9110, section 7.6.1)."""

_SPOOFABLE = frozenset(
    b"forwarded x-real-ip x-original-url x-rewrite-url"
    b" x-http-method x-http-method-override x-method-override".split()
)
_READ = frozenset((b"host", b"content-length", b"expect", b"authorization", b"x-api-key"))
_TAKEN = HOP_BY_HOP | _SPOOFABLE | _READ
_KEPT_WHATEVER_CONNECTION_SAYS = _READ | HOP_BY_HOP

_REFUSED_METHODS = frozenset((b"TRACE", b"TRACK", b"CONNECT"))

_CARRY_HTTP = frozenset((b"", b"h2", b"h2c", b"http", b"tls"))

HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)(/[^?#]*)?(\?[^#]*)?")
_CONTROL_OR_NON_ASCII = re.compile(rb"[^\t\x20-\x7e]")
METHODS: dict[bytes, str] = {}
TARGETS: dict[bytes, tuple[str, bytes, bytes]] = {}  # seen lately, bounded: path, query, both
_HOSTS: dict[bytes, str] = {}  # those seen, bounded: as sent -> lower case, no port


_TRAVELS = b" travels"  # end to end: forwarded as it came
_DROPPED = b" dropped"
_KINDS: dict[bytes, bytes] = {}


def _learn(name: bytes) -> bytes:
    """What becomes of a field: `_TRAVELS`, `_DROPPED`, or its name in lower case for one we read.

    Remembered for names that callers use again and again; bounded, since callers choose the names.
    """
    kind = _kind(name.lower())
    if len(name) < 64:
        if len(_KINDS) >= 4096:
            _KINDS.clear()
        _KINDS[name] = kind
    return kind


def travels(name: bytes) -> bool:
    """Whether the field is end to end and nothing that we read or set: forwarded as it came."""
    return (_KINDS.get(name) or _learn(name)) is _TRAVELS


def _kind(lower: bytes) -> bytes:
    if lower in _TAKERS or lower == b"connection":
        return lower
    likeness = folded(lower)
    if likeness in _TAKEN or likeness.startswith((b"x-forwarded-", b"tollway-")):
        # Servers that make variables of names (CGI, WSGI) would take `Tollway_Account` for our own header.
        return _DROPPED if likeness == lower else b"_"
    return _TRAVELS


class HeadReader:
    """Collects one request head from the parser's callbacks; `finish` checks it and starts afresh."""

    __slots__ = ("_lines", "_taken", "target")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was collected, as after the trailer fields of a chunked body."""
        self.target = b""  # as it was sent
        self._lines: list[bytes] = []
        self._taken: list[tuple[bytes, bytes]] = []

    def size(self) -> int:
        """How many bytes have been collected so far."""
        taken = sum(len(name) + len(value) for name, value in self._taken)
        return len(self.target) + sum(map(len, self._lines)) + taken

    def url(self, piece: bytes) -> None:
        self.target += piece

    def header(self, name: bytes, value: bytes) -> None:
        kind = _KINDS.get(name) or _learn(name)
        if kind is _TRAVELS:
            self._lines += (name, b": ", value, b"\r\n")
        elif kind is not _DROPPED:
            self._taken.append((kind, value))

    def finish(self, method: bytes, *, keep_alive: bool, version: Callable[[], str]) -> RequestHead:
        """The checked head; `version` is asked only when it may be other than 1.1. Raises GatewayError."""
        url, lines, taken = self.target, self._lines, self._taken
        self.reset()
        if len(lines) // 4 + len(taken) > MAX_HEADER_LINES:
            raise HeadTooLarge(f"The request has more than {MAX_HEADER_LINES} header lines.")
        head = RequestHead()
        head.method = METHODS.get(method) or _checked_method(method)
        head.method_bytes = method
        head.keep_alive = keep_alive
        head.lines = lines
        connection = b""
        for name, value in taken:
            if name == b"connection":
                connection += b"," + value
            elif (take := _TAKERS.get(name)) is not None:  # else it is simply dropped
                take(head, value)
        if connection or not keep_alive:  # without either it can only be HTTP/1.1
            _check_version(head, version())
            _drop_listed(head, connection)
        if head.upgrade is not None:
            _check_upgrade(head, connection)
        split_target(head, url)
        if not head.authority and not head.http_1_0:
            raise BadRequest("The request has no Host header.")
        return head


class ProxyHeadReader(HeadReader):
    """For a peer whose word about the caller counts: what it says is kept, whatever `Connection` names."""

    __slots__ = ("_said",)

    def reset(self) -> None:
        super().reset()
        self._said: list[tuple[bytes, bytes]] = []

    def size(self) -> int:
        return super().size() + sum(len(name) + len(value) for name, value in self._said)

    def header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower in SAID_BY_PROXIES:
            self._said.append((lower, value))
        else:
            super().header(name, value)

    def finish(self, method: bytes, *, keep_alive: bool, version: Callable[[], str]) -> RequestHead:
        said = tuple(self._said)
        head = super().finish(method, keep_alive=keep_alive, version=version)
        head.said = said
        return head


def _check_version(head: RequestHead, version: str) -> None:
    if version not in ("1.0", "1.1"):
        raise VersionRefused
    head.http_1_0 = version == "1.0"
    if head.http_1_0:
        if head.chunked:
            raise BadRequest("HTTP/1.0 has no Transfer-Encoding.")
        head.expects_continue = False  # RFC 9110, section 10.1.1: it would never hear of it


def _check_upgrade(head: RequestHead, connection: bytes) -> None:
    """Only a request that says so twice, in 1.1 and without a body, can switch protocols (RFC 9110, 7.8)."""
    if head.http_1_0 or b"upgrade" not in {token.strip().lower() for token in connection.split(b",")}:
        head.upgrade = None
    elif head.has_body:
        raise BadRequest("A request that asks for another protocol can not have a body.")


def refuse_method(method: bytes) -> None:
    """MethodRefused for what would show our lines to the caller, or make a tunnel."""
    if method in _REFUSED_METHODS:
        raise MethodRefused


def _checked_method(method: bytes) -> str:
    """Only spellings the parser knows arrive here, so the cache is bounded."""
    refuse_method(method)
    if method in METHODS_OF_RTSP or method == b"SOURCE":
        raise BadRequest  # of RTSP or of Icecast, whose versions look like ours
    return METHODS.setdefault(method, method.decode("ascii"))


def _take_host(head: RequestHead, value: bytes) -> None:
    if head.authority:
        raise BadRequest("The request has more than one Host header.")
    _set_host(head, value)


def _take_authorization(head: RequestHead, value: bytes) -> None:
    head.authorization = _single(head.authorization, value, "Authorization")


def _take_api_key(head: RequestHead, value: bytes) -> None:
    head.api_key = _single(head.api_key, value, "X-API-Key")


def _take_content_length(head: RequestHead, value: bytes) -> None:
    # The parser has refused everything but digits, a second length, and a length beside chunked.
    head.content_length = int(value)


def _take_transfer_encoding(head: RequestHead, value: bytes) -> None:
    if value.strip().lower() != b"chunked" or head.chunked:
        raise NotImplementedHere("Only the transfer coding `chunked` is understood.")
    head.chunked = True


def _take_expect(head: RequestHead, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise ExpectationUnknown
    head.expects_continue = True


def _take_upgrade(head: RequestHead, value: bytes) -> None:
    # Offers may be ignored (RFC 9110, section 7.8), and in a tunnel of these all calls would pass us by.
    protocols = [one.strip(b" \t") for one in value.split(b",")]
    left = [one for one in protocols if one.partition(b"/")[0].lower() not in _CARRY_HTTP]
    if left:
        head.upgrade = _single(head.upgrade, value if left == protocols else b", ".join(left), "Upgrade")


def _take_simulate(head: RequestHead, value: bytes) -> None:
    head.simulate = _single(head.simulate, value, "Tollway-Simulate")


def _refuse_likeness(head: RequestHead, value: bytes) -> None:  # noqa: ARG001  the shape of its neighbours
    raise BadRequest("A header name that the gateway sets is spelled another way.")


_TAKERS: dict[bytes, Callable[[RequestHead, bytes], None]] = {
    b"host": _take_host,
    b"authorization": _take_authorization,
    b"x-api-key": _take_api_key,
    b"content-length": _take_content_length,
    b"transfer-encoding": _take_transfer_encoding,
    b"expect": _take_expect,
    b"upgrade": _take_upgrade,
    b"tollway-simulate": _take_simulate,
    b"_": _refuse_likeness,
}


def _single(before: bytes | None, value: bytes, name: str) -> bytes:
    if before is not None:
        raise BadRequest(f"The request has more than one {name} header.")
    if _CONTROL_OR_NON_ASCII.search(value):
        raise BadRequest(f"The {name} header holds bytes outside printable ASCII.")
    return value


def _set_host(head: RequestHead, value: bytes) -> None:
    host = _HOSTS.get(value)
    if host is None:
        match = HOST.fullmatch(value)
        if match is None:
            raise BadRequest("The Host header is not a host with an optional port.")
        host = match[1].decode("ascii").lower()
        if len(value) < 256:
            if len(_HOSTS) >= 1024:
                _HOSTS.clear()
            _HOSTS[value] = host
    head.authority = value
    head.host = host


def _drop_listed(head: RequestHead, connection: bytes) -> None:
    """Remove what `Connection` names, but never a field that we read or set (threat: stripped identity)."""
    listed = {token.strip().lower() for token in connection.split(b",")}
    listed -= _KEPT_WHATEVER_CONNECTION_SAYS
    listed -= {b"", b"close", b"keep-alive"}
    if listed:
        lines = head.lines
        head.lines = [
            piece
            for at in range(0, len(lines), 4)
            if lines[at].lower() not in listed
            for piece in lines[at : at + 4]
        ]


def split_target(head: RequestHead, url: bytes) -> None:
    seen = TARGETS.get(url)
    if seen is not None:
        head.path, head.query, head.target = seen
        return
    if len(url) > MAX_TARGET_BYTES:
        raise TargetTooLong
    absolute = not url.startswith(b"/")
    origin = _from_absolute_form(head, url) if absolute else url
    if origin == b"*":
        head.path, head.target = "*", origin
        return
    path, mark, query = origin.partition(b"?")
    if mark and (b"#" in query or _CONTROL_OR_NON_ASCII.search(query)):
        raise BadRequest("The query holds bytes that must be percent-encoded.")
    head.path = canonical_path(path)
    head.query = mark + query
    head.target = head.path.encode() + head.query
    if not absolute and len(url) < 256:
        if len(TARGETS) >= 4096:
            TARGETS.clear()
        TARGETS[url] = head.path, head.query, head.target


def _from_absolute_form(head: RequestHead, url: bytes) -> bytes:
    """The authority of an absolute-form target replaces Host (RFC 9112, section 3.2.2).

    OPTIONS without a path asks about the server: `*` (section 3.2.4).
    """
    if url == b"*" and head.method == "OPTIONS":
        return url
    match = _ABSOLUTE.fullmatch(url)
    if match is None:
        raise BadRequest("The request target is not a path or an http URL.")
    _set_host(head, match[1])
    if head.method == "OPTIONS" and not (match[2] or match[3]):
        return b"*"
    return (match[2] or b"/") + (match[3] or b"")
