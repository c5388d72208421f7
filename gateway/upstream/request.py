"""How a call is written to the upstream."""

from __future__ import annotations

from gateway.model.exchange import Exchange


def request_head(exchange: Exchange, host_line: bytes, *, client_host: bool) -> list[bytes]:
    """The pieces of the head, without the empty line at its end."""
    head = exchange.head
    target, lines = head.target, head.lines
    change = exchange.route.request_change if exchange.route is not None else None
    if change is not None:
        target, lines = change.target(head.path, head.query), change.lines(lines)
    parts = [
        head.method_bytes,
        b" ",
        target,
        b" HTTP/1.1\r\n",
        b"Host: %b\r\n" % head.authority if client_host and head.authority else host_line,
        *lines,
        exchange.principal.identity_lines if exchange.principal is not None else b"",
        b"Tollway-Request-Id: ",
        exchange.request_id,
        b"\r\n",
        exchange.client_lines,
    ]
    if head.chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif head.content_length is not None:
        parts.append(b"Content-Length: %d\r\n" % head.content_length)
    if head.upgrade is not None:
        parts += (b"Connection: upgrade\r\nUpgrade: ", head.upgrade, b"\r\n")
    if head.expects_continue:
        parts.append(b"Expect: 100-continue\r\n")
    return parts
