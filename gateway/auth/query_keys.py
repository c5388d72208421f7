"""A key in the query, for callers that can not set headers. Only on routes that name a parameter for it."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from gateway.errors import BadRequest, Unauthenticated
from gateway.model.changes import HeaderChange
from gateway.model.exchange import RequestHead

_KEY = re.compile(rb"[!-~]*")
_NO_REFERER = HeaderChange(frozenset((b"referer",)), b"")


def take_from_query(head: RequestHead, name: bytes) -> None:
    """Move the key from the parameter `name` to where `X-API-Key` is kept; the rest stays byte for byte.

    A `Referer` with such a parameter goes: pages whose address holds a key send it with whatever they load.
    Raises `BadRequest` for what can be no key, or for two, `Unauthenticated` beside another `X-API-Key`.
    """
    if name in unquote_to_bytes(b"".join(head.lines)):
        _drop_referer(head, name)
    if not head.query:
        return
    parameters = head.query[1:].split(b"&")
    found = [one for one in parameters if _name(one) == name]
    if not found:
        return
    if len(found) > 1:
        raise BadRequest("The query has more than one parameter for the API key.")
    key = _decoded(found[0].partition(b"=")[2])
    if not _KEY.fullmatch(key):
        raise BadRequest("The API key in the query holds bytes outside printable ASCII.")
    if head.api_key not in (None, key):
        raise Unauthenticated(internal="two different keys in one request")
    head.api_key = key
    parameters.remove(found[0])
    head.query = b"?" + b"&".join(parameters) if parameters else b""
    head.target = head.path.encode() + head.query


def _drop_referer(head: RequestHead, name: bytes) -> None:
    query = (head.field(b"referer") or b"").partition(b"?")[2].partition(b"#")[0]
    if head.field(b"referer") is None or any(_name(one) == name for one in query.split(b"&")):
        head.lines = _NO_REFERER.without_dropped(head.lines)


def _name(parameter: bytes) -> bytes:
    return _decoded(parameter.partition(b"=")[0])


def _decoded(text: bytes) -> bytes:
    """As forms and most servers read it."""
    return unquote_to_bytes(text.replace(b"+", b" "))
