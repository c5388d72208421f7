"""Methods that the parser has no name for: registered ones it was not taught, and those an upstream made up.

The parser refuses them, though a method says nothing about where a request ends. So it reads such a request
with another method in its place, and all that it checks of the rest stays checked.
"""

from __future__ import annotations

import re

STAND_IN = b"PUT"
"""A request with this method is framed as any other, and the parser takes it in HTTP alone."""

METHODS_OF_RTSP = frozenset(
    b"ANNOUNCE DESCRIBE FLUSH GET_PARAMETER PAUSE PLAY RECORD REDIRECT SETUP SET_PARAMETER TEARDOWN".split()
)
"""The parser lets these pass in a request of RTSP only, which it would take for HTTP otherwise."""

LONGEST = 32
_BEGINNING = re.compile(rb"[\r\n]*([A-Z][A-Z-]{0,%d}) " % (LONGEST - 1))
_PART = re.compile(rb"[\r\n]*[A-Z][A-Z-]{0,%d}" % (LONGEST - 1))
_NEVER = frozenset((b"PRI",))
"""The preface of HTTP/2 begins like this, so that no request does."""


def method_of(begun: bytes) -> bytes | None:
    """The method that a request begins with, as one may be named in policies; None if there is none.

    In capital letters only: there are upstreams that take `get` for GET, and our routes do not.
    """
    match = _BEGINNING.match(begun)
    return match[1] if match is not None and match[1] not in _NEVER else None


def may_become_one(begun: bytes) -> bool:
    """Whether more bytes could make it begin with a method."""
    return _PART.fullmatch(begun) is not None


def with_stand_in(begun: bytes, method: bytes) -> bytes:
    """The same request with a method that the parser knows."""
    return begun.replace(method, STAND_IN, 1)
