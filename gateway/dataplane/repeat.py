"""A caller that says the same again.

Over a kept connection most callers send the very same header lines with every request. A head that differs
from the one before in its first line only is not parsed again. Whatever else differs is left to the parser,
which makes of every head that is recognised here exactly the same.
"""

from __future__ import annotations

import re

from gateway.dataplane.head import METHODS, TARGETS, split_target
from gateway.errors import GatewayError
from gateway.model.exchange import RequestHead

LONGEST = 2048
"""Bounds what a connection holds on to."""

PATIENCE = 8
"""A caller with so many heads in a row unlike the one before is taken for one that varies them."""

_URL = re.compile(rb"/[!-~]*")
_NOTHING = b"\0"  # no head ends like this


class Repeats:
    """The last head of one connection, if it was of the most ordinary kind."""

    __slots__ = ("_like", "_lines", "_misses", "_rest")

    def __init__(self) -> None:
        self._rest = _NOTHING  # all of the head behind its target
        self._like = RequestHead()
        self._lines = b""
        self._misses = 0

    def recognise(self, data: bytes) -> RequestHead | None:
        """The head that is all of `data`, if it repeats the one before.

        None leaves `data` to the parser, and until `remember` nothing is recognised.
        """
        rest = self._rest
        if data.endswith(rest):
            method, _, url = data[: -len(rest)].partition(b" ")
            if method in METHODS and (url in TARGETS or _URL.fullmatch(url)):
                head = RequestHead()
                try:
                    split_target(head, url)
                except GatewayError:
                    pass
                else:
                    like = self._like
                    head.method = METHODS[method]
                    head.method_bytes = method
                    head.host = like.host
                    head.authority = like.authority
                    head.authorization = like.authorization
                    head.api_key = like.api_key
                    head.lines = [self._lines]
                    self._misses = 0
                    return head
        self._rest = _NOTHING
        return None

    def remember(self, data: bytes, head: RequestHead) -> None:
        """Compare what comes next with `head`, the only thing that the parser found in `data`."""
        if self._misses >= PATIENCE or len(data) > LONGEST or not _is_ordinary(head):
            return
        self._misses += 1
        end = data.find(b" HTTP/1.1\r\n")
        method = head.method_bytes + b" "
        is_plain = data.startswith(method) and _URL.fullmatch(data, len(method), end)
        if is_plain and data.find(b"\r\n\r\n") == len(data) - 4:
            self._rest = data[end:]
            self._like = head
            self._lines = b"".join(head.lines)


def _is_ordinary(head: RequestHead) -> bool:
    """Without a body, in 1.1, and another request may follow."""
    unusual = head.chunked or head.expects_continue or head.http_1_0 or head.upgrade is not None
    return head.keep_alive and head.content_length is None and not unusual
