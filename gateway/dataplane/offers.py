"""Going on with HTTP after an offer of another protocol that we ignore."""

from __future__ import annotations

from typing import Protocol

from httptools import HttpRequestParser

from gateway.model.exchange import RequestHead


class Callbacks(Protocol):
    """What the parser calls."""

    def on_message_begin(self) -> None: ...

    def on_url(self, piece: bytes) -> None: ...

    def on_header(self, name: bytes, value: bytes) -> None: ...

    def on_headers_complete(self) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_message_complete(self) -> None: ...


class _Primed:
    """Passes everything on but the first head, which only tells the parser how its body is framed."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self.is_primed = False
        self.on_body = callbacks.on_body
        self.on_message_complete = callbacks.on_message_complete

    def on_message_begin(self) -> None:
        if self.is_primed:
            self._callbacks.on_message_begin()

    def on_url(self, piece: bytes) -> None:
        if self.is_primed:
            self._callbacks.on_url(piece)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_primed:
            self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.is_primed:
            self._callbacks.on_headers_complete()


def parser_of_body(callbacks: Callbacks, head: RequestHead) -> HttpRequestParser:
    """A parser that goes on with the body of `head`.

    The one that read the head takes what follows an offer of another protocol for that protocol, and would
    never find the end of the body.
    """
    primed = _Primed(callbacks)
    parser = HttpRequestParser(primed)
    framing = (
        b"Transfer-Encoding: chunked" if head.chunked else b"Content-Length: %d" % (head.content_length or 0)
    )
    parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
    primed.is_primed = True
    return parser
