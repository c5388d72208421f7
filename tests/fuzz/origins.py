"""What upstreams see, read again by h11, and what they answer: right, wrong, early, in any pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import h11

from tests.fuzz.callers import chunked, filled, mark
from tests.fuzz.transports import FakeTransport


@dataclass
class Seen:
    """One request as an upstream understands it."""

    number: int
    method: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False

    def wants_upgrade(self) -> bool:
        return any(name == b"upgrade" for name, _ in self.fields)


@dataclass
class Reply:
    """An answer: its bytes, the body in it, and what follows."""

    raw: bytes
    body: bytes = b""
    is_good: bool = True  # else there is something wrong about it
    then: str = ""  # eof or reset, when all of it is said
    until_close: bool = False
    taints: bool = False  # there is more than the answer
    switches: bool = False
    is_early_end: bool = False


_ASKED = re.compile(rb" /(?:n|slow)/([0-9]+) HTTP/1.1\r\nHost:")
_PLAIN = (
    "sized",
    "empty",
    "chunked",
    "named",
    "mixed",
    "error",
    "none",
    "unchanged",
    "old",
    "closing",
    "hints",
)
_EVIL_HEADS = {
    "evil-two-lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n",
    "evil-both": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    "evil-coding": b"Transfer-Encoding: gzip\r\n",
    "evil-fold": b"X: y\r\n z\r\nContent-Length: 2\r\n",
    "evil-feed": b"X: y\nContent-Length: 2\r\n",
    "evil-return": b"X: y\rZ: a\r\nContent-Length: 2\r\n",
    "evil-length": b"Content-Length: -2\r\n",
    "evil-space": b"Content-Length : 2\r\n",
    "evil-huge": b"X: " + b"y" * 70_000 + b"\r\nContent-Length: 2\r\n",
    "evil-upgrade": b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n",
}
_EVIL = ("evil-status", "evil-101", "evil-chunk", "evil-noise", "evil-trailers", "evil-tls", "evil-http2")
_CUT = ("cut-sized", "cut-chunked", "cut-head", "cut-until-close")
REPLIES = (*_PLAIN, "until-close", "switch", "more", "more-answers", *_CUT, *_EVIL_HEADS, *_EVIL)
BENIGN = (*_PLAIN, "until-close", "switch")


def reply(kind: str, seen: Seen, size: int) -> Reply:
    """The answer of this kind to a call."""
    own = b"X-Mark: %b\r\n" % mark(seen.number)
    ok = b"HTTP/1.1 200 OK\r\n" + own
    body = filled(seen.number, size) or b"ok"
    hides = seen.method == b"HEAD"
    sent = b"" if hides else body
    if kind == "switch":
        if not seen.wants_upgrade():
            return reply("sized", seen, size)
        raw = b"HTTP/1.1 101 Switching Protocols\r\n%bConnection: upgrade\r\nUpgrade: websocket\r\n\r\n" % own
        return Reply(raw, switches=True)
    if kind in _EVIL_HEADS:
        return Reply(ok + _EVIL_HEADS[kind] + b"\r\n" + body, is_good=False, taints=True)
    if kind in _EVIL:
        return Reply(_evil(kind, ok), is_good=False, taints=True)
    sized = ok + b"Content-Length: %d\r\n\r\n%b" % (len(body), sent)
    chunks = chunked(sent, seen.number) + (b"" if hides else b"0\r\nX-Trailer: 1\r\n\r\n")
    in_chunks = ok + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    open_end = ok + b"\r\n" + sent
    if kind.startswith("cut-"):
        whole = {"cut-sized": sized, "cut-chunked": in_chunks, "cut-until-close": open_end, "cut-head": ok}[
            kind
        ]
        then = "reset" if size % 2 or kind == "cut-until-close" else "eof"
        return Reply(
            whole[: -1 - size % 50],
            sent,
            is_good=False,
            then=then,
            until_close=kind == "cut-until-close",  # whole after all, if it is left in order before the cut
            is_early_end=True,
        )
    if kind == "more":
        return Reply(sized + filled(seen.number, 30), sent, taints=True)
    if kind == "more-answers":
        return Reply(sized + sized, sent, taints=True)
    raw, then = {
        "sized": (sized, ""),
        "empty": (ok + b"Content-Length: 0\r\n\r\n", ""),
        "chunked": (in_chunks, ""),
        "named": (
            ok + b"Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), sent),
            "",
        ),
        "mixed": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + in_chunks, ""),
        "error": (sized.replace(b"200 OK", b"503 Service Unavailable", 1), ""),
        "none": (b"HTTP/1.1 204 No Content\r\n" + own + b"\r\n", ""),
        "unchanged": (b"HTTP/1.1 304 Not Modified\r\n" + own + b"Content-Length: 9\r\n\r\n", ""),
        "old": (sized.replace(b"HTTP/1.1", b"HTTP/1.0", 1), "eof"),
        "closing": (sized.replace(own, own + b"Connection: close\r\n", 1), "eof"),
        "hints": (b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + sized, ""),
        "until-close": (open_end, "eof"),
    }[kind]
    has_none = kind in ("empty", "none", "unchanged")
    return Reply(raw, b"" if has_none else sent, then=then, until_close=kind == "until-close" and not hides)


def _evil(kind: str, ok: bytes) -> bytes:
    return {
        "evil-status": b"HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nhi",
        "evil-101": b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 2\r\n\r\nhi",
        "evil-chunk": ok + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\nab",
        "evil-noise": b"\x00\xff\r\n\r\n\x16\x03",
        "evil-trailers": ok + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 12_000 + b"\r\n",
        "evil-tls": b"\x15\x03\x01\x00\x02\x02\x46",
        "evil-http2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    }[kind]


class Origin:
    """One connection to the upstream, seen from its far end."""

    def __init__(self, transport: FakeTransport) -> None:
        self.transport = transport
        self.seen: list[Seen] = []
        self.replies: dict[int, Reply] = {}  # by the number of the call; the newest
        self.tunnel: bytearray | None = None  # what came after a switch of protocols
        self.tunnel_said = bytearray()
        self.is_tainted = False  # it has said more than its answer
        self._tainted_from = 0  # requests that were answered before
        self._blurted: list[tuple[int, int]] = []  # what had been said before, and answered
        self.has_left = False
        self.left_by = ""
        self._parser = h11.Connection(h11.SERVER)
        self._taken = 0
        self._out = bytearray()
        self._reply: Reply | None = None  # being said
        self._answered = 0  # requests

    # -- what it sees --------------------------------------------------------------------------------------

    def read(self) -> None:
        """Take what came, as h11 understands it. Fails on anything that is no HTTP."""
        data = bytes(self.transport.received[self._taken :])
        self._taken += len(data)
        if self.tunnel is not None:
            self.tunnel += data
        elif data:
            self._parser.receive_data(data)
            self._take_events()

    def _take_events(self) -> None:
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Request):
                self.seen.append(self._checked(event))
            elif isinstance(event, h11.Data):
                self.seen[-1].body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert not event.headers, "trailer fields"
                self.seen[-1].is_whole = True
            else:
                assert event in (h11.NEED_DATA, h11.PAUSED), event
                if event is h11.PAUSED and not self.current():
                    assert not self._parser.trailing_data[0], "bytes behind the last request"
                return

    def _checked(self, request: h11.Request) -> Seen:
        fields = [(bytes(name), bytes(value)) for name, value in request.headers]
        names = [name for name, _ in fields]
        assert request.http_version == b"1.1"
        for once in (b"host", b"tollway-request-id", b"x-forwarded-for", b"x-forwarded-proto"):
            assert names.count(once) == 1, once
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
        for name, value in fields:
            assert b"_" not in name
            assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value)
        target = re.fullmatch(rb"/(n|slow)/([0-9]+)", request.target)
        assert target is not None, f"a call that nobody made: {request.target!r}"
        return Seen(int(target[2]), bytes(request.method), fields)

    def current(self) -> Seen | None:
        """The request that waits for an answer, or gets one."""
        if self._answered < len(self.seen):
            return self.seen[self._answered]
        return None

    # -- what it says --------------------------------------------------------------------------------------

    @property
    def is_saying(self) -> bool:
        return self._reply is not None

    @property
    def steps(self) -> int:
        """Grows with everything it does."""
        return 2 * self._answered + self.is_saying

    def begin(self, kind: str, size: int) -> None:
        """Begin to answer the request at hand."""
        seen = self.current()
        if seen is not None and self._reply is None and self.tunnel is None and not self.has_left:
            self._reply = self.replies[seen.number] = reply(kind, seen, size)
            if self._reply.taints:
                self._taint(self._answered + 1)
            self._out += self._reply.raw

    def say(self, count: int) -> None:
        """The next bytes of the answer; behind its last ones all that follows from it."""
        saying = self._reply
        if saying is None or self.has_left:
            return
        data = bytes(self._out[:count])
        del self._out[:count]
        self.transport.says(data)
        if self._out:
            return
        self._reply = None
        self._answered += 1
        if saying.then:
            self.leave(saying.then)
        elif saying.is_good:
            self._next(switches=saying.switches)

    def _next(self, *, switches: bool) -> None:
        if switches:
            self._parser.send(h11.InformationalResponse(status_code=101, headers=[]))
            self.tunnel = bytearray(self._parser.trailing_data[0])
            return
        if self._parser.our_state is not h11.SEND_RESPONSE:
            return
        self._parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        self._parser.send(h11.EndOfMessage())
        if self._parser.states == {h11.SERVER: h11.DONE, h11.CLIENT: h11.DONE}:
            self._parser.start_next_cycle()
            self._take_events()

    def blurt(self, data: bytes) -> None:
        """Say what nobody asked for."""
        if not self.has_left and self.tunnel is None:
            self._blurted.append((self.transport.said_bytes, self._answered))
            self.transport.says(data)

    def unclear(self) -> set[int]:
        """Calls that may have been answered with what was said to nobody: whose that is no gateway can tell.

        Not those that were sent after it was heard: then it was no answer to anything.
        """
        doubtful = [self._tainted_from] if self.is_tainted else []
        for said, answered in self._blurted:
            written = next((sent for heard, sent in self.transport.deliveries if heard > said), 0)
            if len(_ASKED.findall(bytes(self.transport.written[:written]))) > answered:
                doubtful.append(answered)
        if not doubtful:
            return set()
        return set(map(int, _ASKED.findall(bytes(self.transport.written))[min(doubtful) :]))

    def _taint(self, answered: int) -> None:
        if not self.is_tainted:
            self.is_tainted = True
            self._tainted_from = answered

    def tell(self, size: int) -> None:
        """Send bytes through a tunnel."""
        if self.tunnel is not None and not self.has_left:
            data = filled(self.seen[-1].number, size)
            self.tunnel_said += data
            self.transport.says(data)

    def leave(self, how: str) -> None:
        if not self.has_left:
            self.has_left = True
            self.left_by = how
            self.transport.ends(how)
