"""A caller that says the same again.

Over a kept connection most callers send the very same header lines with every request, or all but one, which
numbers or traces the call, or says for which customer it is. A head like the one before is not parsed again.
Whatever else differs is left to the parser, which makes of every head that is recognised here exactly the
same.
"""

from __future__ import annotations

import re

from mypy_extensions import mypyc_attr

from gateway.dataplane.head import METHODS, TARGETS, split_target, travels
from gateway.errors import GatewayError
from gateway.model.exchange import RequestHead
from gateway.model.fieldline import FIELD_LINE

LONGEST = 2048
"""Bounds what a connection holds on to, and what is taken for more of the same."""

PATIENCE = 8
"""A caller with so many heads in a row unlike the one before is taken for one that varies them."""

_URL = re.compile(rb"/[!-~]*")
_VERSION = b" HTTP/1.1\r\n"
_END = b"\r\n\r\n"

_NOTHING, _LINE = b"", b" line"
_API_KEY, _AUTHORIZATION = b"x-api-key", b"authorization"
_CREDENTIAL = re.compile(rb"[!-~](?:[\t -~]*[!-~])?")


@mypyc_attr(allow_interpreted_subclasses=True)  # tests read with no more than this
class Repeats:
    """The last head of one connection, if it was of the most ordinary kind, and where the next may differ."""

    __slots__ = (
        "_after",
        "_api_key",
        "_before",
        "_like",
        "_lines_after",
        "_lines_before",
        "_longest",
        "_misses",
        "_open",
        "_seen",
    )

    def __init__(self, longest: int = LONGEST) -> None:
        """`longest`: how many bytes a head may have at all, if that is less."""
        self._longest = min(longest, LONGEST)
        self._seen: list[bytes] = []  # the lines
        self._before = b""  # all behind the target, up to what differs; empty: nothing is recognised
        self._open = _NOTHING  # what does: a whole line, or the value of a credential, by its name
        self._after = _END  # all behind it
        self._like = RequestHead()
        self._api_key: bytes | None = None  # as it was in the header: stages may find one elsewhere
        self._lines_before = b""
        self._lines_after = b""
        self._misses = 0

    def recognise(self, data: bytes) -> RequestHead | None:
        """The head that is all of `data`, if it repeats the one before.

        None leaves `data` to the parser, and until `remember` nothing is recognised.
        """
        before, after = self._before, self._after
        if not before:
            return None
        start = data.find(_VERSION)
        at, end = start + len(before), len(data) - len(after)
        is_alike = at <= end and data.startswith(before, start) and data.endswith(after)
        if is_alike and len(data) <= self._longest:
            said = data[at:end]
            if self._open is _LINE:
                line = _travelling(said)
            elif self._open is _NOTHING:
                line = b"" if at == end else None
            else:
                line = b"" if _CREDENTIAL.fullmatch(said) else None
            head = self._head(data[:start], said) if line is not None else None
            if head is not None:
                head.lines = [self._lines_before, line or b"", self._lines_after]
                self._misses = 0
                return head
        self._before = b""
        return None

    def _head(self, start: bytes, said: bytes) -> RequestHead | None:
        method, _, url = start.partition(b" ")
        if method not in METHODS or not (url in TARGETS or _URL.fullmatch(url)):
            return None
        head = RequestHead()
        try:
            split_target(head, url)
        except GatewayError:
            return None
        like = self._like
        head.method = METHODS[method]
        head.method_bytes = method
        head.host = like.host
        head.authority = like.authority
        head.authorization = said if self._open is _AUTHORIZATION else like.authorization
        head.api_key = said if self._open is _API_KEY else self._api_key
        head.said = like.said
        return head

    def remember(self, data: bytes, head: RequestHead) -> None:
        """Compare what comes next with `head`, the only thing that the parser found in `data`."""
        if self._misses >= PATIENCE or len(data) > self._longest or not _is_ordinary(head):
            self._seen = []
            return
        self._misses += 1
        end = data.find(_VERSION)
        method = head.method_bytes + b" "
        is_plain = data.startswith(method) and _URL.fullmatch(data, len(method), end)
        first, last = end + len(_VERSION), len(data) - len(_END)
        if not is_plain or data.find(_END) != last or first > last:
            return
        seen, self._seen = self._seen, data[first:last].split(b"\r\n")
        self._like = head
        self._api_key = head.api_key
        at = _only_difference(seen, self._seen)
        travelling = [travels(line.partition(b":")[0]) for line in self._seen]
        self._open, name = _NOTHING, b""
        if at >= 0 and sum(travelling) * 4 == len(head.lines):
            self._open, name = _open_in(self._seen[at])
        if self._open is _NOTHING:
            self._before, self._after = data[end:last], _END
            self._lines_before, self._lines_after = b"".join(head.lines), b""
            return
        self._before = _VERSION + b"".join(line + b"\r\n" for line in self._seen[:at]) + name
        self._after = b"\r\n" + b"".join(line + b"\r\n" for line in self._seen[at + 1 :]) + b"\r\n"
        passed = 4 * sum(travelling[:at])
        self._lines_before = b"".join(head.lines[:passed])
        self._lines_after = b"".join(head.lines[passed + 4 * travelling[at] :])


def _is_ordinary(head: RequestHead) -> bool:
    """Without a body, in 1.1, and another request may follow."""
    unusual = head.chunked or head.expects_continue or head.http_1_0 or head.upgrade is not None
    unusual = unusual or head.simulate is not None
    return head.keep_alive and head.content_length is None and not unusual


def _only_difference(lines: list[bytes], others: list[bytes]) -> int:
    """The number of the one line that is not the same; -1 if there is not exactly one."""
    if len(lines) != len(others):
        return -1
    differing = [at for at, (one, other) in enumerate(zip(lines, others, strict=True)) if one != other]
    return differing[0] if len(differing) == 1 else -1


def _open_in(line: bytes) -> tuple[bytes, bytes]:
    """What of the line may be another one the next time, and what is before that."""
    match = FIELD_LINE.fullmatch(line)
    if match is not None and travels(match[1]):
        return _LINE, b""
    name = b"" if match is None else match[1].lower()
    for credential in (_API_KEY, _AUTHORIZATION):
        if match is not None and name == credential and match[2]:
            return credential, line[: match.start(2)]
    return _NOTHING, b""


def _travelling(line: bytes) -> bytes | None:
    """The line as it is forwarded; None if it may not be a line that only travels."""
    match = FIELD_LINE.fullmatch(line)
    if match is None or not travels(match[1]):
        return None
    return b"%b: %b\r\n" % (match[1], match[2])
