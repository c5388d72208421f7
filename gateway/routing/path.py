"""One spelling per path. What is matched is what is forwarded, or the request is refused.

Two spellings of a path that an upstream takes for the same must never be told apart by our routes: whoever
finds the second one walks around what the first one requires.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from gateway.errors import BadRequest

# Ordinary paths are canonical as they are: no escapes, no empty segments, none that starts with a dot.
_ordinary = re.compile(rb"(?!.*/[/.])/[A-Za-z0-9._~!$&'()*+,=:@/-]*").fullmatch

_REFUSED_RAW = re.compile(rb"[^\x21-\x7e]|[\\;#?]")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_REFUSED_ESCAPES = re.compile(rb"%(?:2F|5C|00)")
# An upstream that decodes twice would read these as plain characters, slashes or further escapes.
_TWICE_ENCODED = re.compile(rb"%25(?:2[DEdeFf5]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[CcFf]|7[Ee])")

_RAW_REASON = "The path holds a character that must be percent-encoded or is refused (`\\`, `;`, `#`)."


def canonical_path(raw: bytes) -> str:
    """The canonical spelling of a request path without its query. Raises `BadRequest`, never echoes bytes.

    Called for every request; applied to its own result it changes nothing.
    """
    if _ordinary(raw):
        return raw.decode()
    return _normalise(raw).decode()


def _normalise(raw: bytes) -> bytes:
    if not raw.startswith(b"/"):
        raise BadRequest("The path must start with a slash.")
    if _REFUSED_RAW.search(raw):
        raise BadRequest(_RAW_REASON)
    if _BAD_ESCAPE.search(raw):
        raise BadRequest("The path holds a percent sign that is not followed by two hexadecimal digits.")
    path = _ESCAPE.sub(_canonical_escape, raw)
    if _REFUSED_ESCAPES.search(path):
        raise BadRequest("The path holds an encoded slash, backslash or NUL (%2F, %5C, %00).")
    if _TWICE_ENCODED.search(path):
        raise BadRequest("The path is percent-encoded twice.")
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("The path holds percent-encoded bytes that are not UTF-8.") from error
    return _without_dots(path)


def _canonical_escape(escape: re.Match[bytes]) -> bytes:
    code = int(escape.group(1), 16)
    return bytes((code,)) if code in _UNRESERVED else escape.group().upper()


def _without_dots(path: bytes) -> bytes:
    """Slashes merged, then `.` and `..` resolved (RFC 3986, section 5.2.4). Never above the root."""
    kept: list[bytes] = []
    segments = path.split(b"/")
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    is_folder = segments[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(kept) + (b"/" if is_folder and kept else b"")
