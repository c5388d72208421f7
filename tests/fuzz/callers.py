"""What callers send, and an own strict reading of what they get. Every call has a number and a mark."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.fuzz.transports import FakeTransport

_MARK = re.compile(rb"<([0-9]+):([0-9]+)>")
_STATUS = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) [\t -~\x80-\xff]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*)")


def mark(number: int) -> bytes:
    """Says which call some bytes belong to, even when they are cut or spoiled."""
    return b"<%d:%d>" % (number, number * 7919 % 10007)


def marks(data: bytes) -> set[int]:
    """The calls whose bytes these are."""
    found = ((int(one), int(other)) for one, other in _MARK.findall(data))
    return {number for number, check in found if check == number * 7919 % 10007}


def filled(number: int, size: int) -> bytes:
    """A body of about `size` bytes that is of this call in each part."""
    return mark(number) * (size // 12)


@dataclass
class Call:
    """One message that a caller sends, valid or not."""

    number: int
    kind: str
    method: bytes
    raw: bytes
    body: bytes = b""
    is_valid: bool = True
    passes: bool = True  # its head may reach the upstream
    is_last: bool = False  # nothing behind it is a request
    end: int = 0  # where it ends in what its caller sends


_HEAD = b"%b /n/%d HTTP/1.1\r\nHost: api.example\r\nX-Sent: %b\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
_H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
_BAD = {
    "bad-space": b"X : y\r\n\r\n",
    "bad-both": _CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    "bad-length": b"Content-Length: +3\r\n\r\nabc",
    "bad-fold": b"X: y\r\n z\r\n\r\n",
    "bad-coding": b"Transfer-Encoding: gzip\r\n\r\nabc",
    "bad-host": b"Host: other\r\n\r\n",
    "bad-feed": b"X: y\n\r\n",
    "bad-expect": b"Expect: more\r\nContent-Length: 3\r\n\r\nabc",
    "bad-name": b"Tollway_Account: x\r\n\r\n",
    "bad-upgrade": _UPGRADE + b"Content-Length: 3\r\n\r\nabc",
    "bad-size": b"X: " + b"y" * 9000 + b"\r\n\r\n",
    "bad-chunk": _CHUNKED + b"\r\n3\r\nabc\r\nzz\r\n",
    "bad-chunk-end": _CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n",
    "bad-trailer": _CHUNKED + b"\r\n3\r\nabc\r\n0\r\nX : y\r\n\r\n",
    "bad-trailers": _CHUNKED + b"\r\n3\r\nabc\r\n0\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    "bad-extension": _CHUNKED + b"\r\n1;" + b"x" * 9000 + b"\r\na\r\n0\r\n\r\n",
}
_BODILESS: dict[str, tuple[bytes, bytes]] = {
    "get": (b"GET", b""),
    "get-varied": (b"GET", b"Traceparent: %d\r\n"),
    "get-hop": (b"GET", b"Connection: X-Sent\r\n"),
    "head": (b"HEAD", b""),
    "options": (b"OPTIONS", b""),
    "put-nothing": (b"PUT", b"Content-Length: 0\r\n"),
    "post-nothing": (b"POST", b""),
    "get-close": (b"GET", b"Connection: close\r\n"),
    "offer": (b"GET", _H2C),
    "upgrade": (b"GET", _UPGRADE),
}
_BODIES: dict[str, tuple[bytes, bytes]] = {
    "post": (b"POST", b""),
    "put": (b"PUT", b""),
    "get-body": (b"GET", b""),
    "post-expect": (b"POST", b"Expect: 100-continue\r\n"),
    "post-close": (b"POST", b"Connection: close\r\n"),
    "post-offer": (b"POST", _H2C),
}
_VERDICTS = {"deny": b"/deny/", "limit": b"/limit/", "slow": b"/slow/", "fail": b"/fail/", "odd": b"/%2f/"}

LAST = ("get-close", "post-close", "post-close-chunked", "upgrade", "slow:upgrade", "1.0-get", "1.0-post")
GOOD = (
    *(kind for kind in (*_BODILESS, *_BODIES, *(f"{kind}-chunked" for kind in _BODIES)) if kind not in LAST),
    *(f"slow:{kind}" for kind in ("get", "post", "post-chunked")),
    "1.0-get-keep",
)
REFUSED = tuple(
    f"{verdict}:{kind}" for verdict in ("deny", "limit", "fail") for kind in ("get", "post", "post-chunked")
)
UPLOADS = ("post", "put", "post-chunked", "get-body", "post-expect", "post-offer", "slow:post")
BAD = (*_BAD, "odd:get", "odd:post", "deny:upgrade")


def make_call(kind: str, number: int, size: int) -> Call:
    """The bytes of a call and what is to be expected of it."""
    verdict, _, rest = kind.rpartition(":")
    if rest.startswith("bad-"):
        raw = _HEAD % (b"POST", number, mark(number)) + _BAD[rest]
        broken_body = rest.startswith(("bad-chunk", "bad-trailer", "bad-ext"))
        body = b"abc" if broken_body else b""
        return Call(number, kind, b"POST", raw, body, is_valid=False, passes=broken_body, is_last=True)
    call = _old(rest, number, size) if rest.startswith("1.0-") else _new(rest, number, size)
    call.kind = kind
    if verdict:
        call.raw = call.raw.replace(b"/n/", _VERDICTS[verdict], 1)
        call.passes = verdict == "slow"
    if verdict == "odd":
        call.is_valid, call.is_last = False, True
    return call


def _new(kind: str, number: int, size: int) -> Call:
    if kind in _BODILESS:
        method, lines = _BODILESS[kind]
        if b"%d" in lines:
            lines %= number
        raw = _HEAD % (method, number, mark(number)) + lines + b"\r\n"
        return Call(number, kind, method, raw, is_last=kind in ("get-close", "upgrade"))
    method, lines = _BODIES[kind.removesuffix("-chunked")]
    body = filled(number, size)
    raw = _HEAD % (method, number, mark(number)) + lines
    if not kind.endswith("-chunked"):
        raw += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    else:
        raw += _CHUNKED + b"\r\n" + chunked(body, number) + b"0\r\nX-Trailer: 1\r\n\r\n"
    return Call(number, kind, method, raw, body, is_last=kind.startswith("post-close"))


def chunked(body: bytes, salt: int) -> bytes:
    """Chunks of several sizes, some with an extension."""
    size = 1 + salt * 37 % 400
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(piece), b";e=1" * (len(piece) % 2), piece) for piece in pieces)


def _old(kind: str, number: int, size: int) -> Call:
    method = b"POST" if kind == "1.0-post" else b"GET"
    body = filled(number, size) if method == b"POST" else b""
    raw = b"%b /n/%d HTTP/1.0\r\nX-Sent: %b\r\n" % (method, number, mark(number))
    if method == b"POST":
        raw += b"Content-Length: %d\r\n" % len(body)
    keeps = kind.endswith("keep")
    raw += b"Connection: keep-alive\r\n" * keeps + b"\r\n" + body
    return Call(number, kind, method, raw, body, is_last=not keeps)


@dataclass
class Answer:
    """One final answer, as far as it came."""

    status: int
    lines: list[tuple[bytes, bytes]]
    body: bytes
    is_whole: bool
    raw: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for given, value in self.lines if given.lower() == name]


@dataclass
class Caller:
    """One connection of a caller."""

    transport: FakeTransport
    calls: list[Call] = field(default_factory=list)
    stream: bytearray = field(default_factory=bytearray)  # all it wants to send
    sent: int = 0
    has_left: bool = False  # it ended its side
    was_drained: bool = False  # the gateway was asked to end it
    answers: list[Answer] = field(default_factory=list)
    tunnel: bytes | None = None  # what came after a switch of protocols
    _read: tuple[int, bool] = (-1, False)

    def queue(self, call: Call) -> None:
        self.stream += call.raw
        call.end = len(self.stream)
        self.calls.append(call)

    def say(self, count: int) -> None:
        data = bytes(self.stream[self.sent : self.sent + count])
        self.sent += len(data)
        if data:
            self.transport.says(data)

    def fully_sent(self) -> list[Call]:
        """Calls of which the last byte is on its way, up to the last that can be one."""
        found = []
        for call in self.calls:
            if call.end <= self.sent:
                found.append(call)
            if call.is_last:
                break
        return found

    def read(self) -> None:
        """Read all answers so far; fails on anything that is no answer to the call whose turn it is."""
        state = len(self.transport.received), self.transport.ended
        if state != self._read:
            self._read = state
            self.answers, self.tunnel = _read_answers(self)


def _read_answers(caller: Caller) -> tuple[list[Answer], bytes | None]:
    data = bytes(caller.transport.received)
    answers: list[Answer] = []
    calls = iter(caller.calls)
    while data:
        call = next(calls, None)
        assert call is not None, f"an answer nobody asked for: {data[:200]!r}"
        is_over = bool(answers) and b"close" in answers[-1].values(b"connection")
        assert not is_over, f"bytes after the last answer: {data[:200]!r}"
        rest = data
        status, lines, after = _read_head(rest)
        while 100 <= status < 200 and status != 101:
            rest = after
            status, lines, after = _read_head(rest)
        if not status:
            assert len(rest) < 70_000
            break
        if status == 101:
            assert "upgrade" in call.kind, "a switch nobody asked for"
            answers.append(Answer(101, lines, b"", is_whole=True, raw=data))
            return answers, after
        old = call.kind.startswith("1.0")
        body, is_whole, end = _read_body(call.method, status, lines, after, old, caller.transport)
        used = len(data) - len(end)
        answers.append(Answer(status, lines, body, is_whole, data[:used]))
        data = end
        if not is_whole:
            assert not data
    return answers, None


def _read_head(data: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status (0: not whole yet), fields, and what follows."""
    head, mark_of_end, rest = data.partition(b"\r\n\r\n")
    if not mark_of_end:
        return 0, [], b""
    first, *others = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    assert status is not None, f"no status line: {first!r}"
    lines = []
    for line in others:
        found = _FIELD.fullmatch(line)
        assert found is not None, f"no header line: {line!r}"
        lines.append((found[1], found[2]))
    return int(status[1]), lines, rest


def _read_body(
    method: bytes,
    status: int,
    lines: list[tuple[bytes, bytes]],
    data: bytes,
    old: bool,
    transport: FakeTransport,
) -> tuple[bytes, bool, bytes]:
    """The body as far as it came, whether it is whole, and what follows."""
    lengths = [value for name, value in lines if name.lower() == b"content-length"]
    codings = [value for name, value in lines if name.lower() == b"transfer-encoding"]
    assert len(lengths) + len(codings) <= 1, "framed twice"
    assert codings in ([], [b"chunked"])
    assert not (codings and old), "HTTP/1.0 knows no chunks"
    # A request that is refused before it is whole may have been anything: the refusal has its body.
    is_refusal = (b"Content-Type", b"application/problem+json") in lines and (
        b"Connection",
        b"close",
    ) in lines
    if (method == b"HEAD" and not (is_refusal and data)) or status in (204, 304):
        return b"", True, data
    if lengths:
        length = int(lengths[0])
        assert b"%d" % length == lengths[0], "not canonical"
        return data[:length], len(data) >= length, data[length:]
    if codings:
        return _read_chunks(data)
    assert old, "an answer without an end"
    return data, transport.ended and not transport.was_cut, b""


def _read_chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while True:
        size, mark_of_end, rest = data.partition(b"\r\n")
        if not mark_of_end:
            return body, False, b""
        assert re.fullmatch(rb"[0-9a-f]+", size), f"no size of a chunk: {size!r}"
        count = int(size, 16)
        if count == 0:
            assert b"\r\n".startswith(rest[:2]), "trailer fields"
            return body, len(rest) >= 2, rest[2:]
        body += rest[:count]
        if len(rest) < count + 2:
            return body, False, b""
        assert rest[count : count + 2] == b"\r\n"
        data = rest[count + 2 :]
