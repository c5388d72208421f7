"""The small languages of header rules: which fields a policy may change, and what it may put there.

Like `texts`: every `check_...` returns its text when it is good and raises `ValueError` in words otherwise.
Messages never repeat a value: it may be a secret.
"""

from __future__ import annotations

import re

from gateway.model.changes import folded
from gateway.policy.problems import shown

HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
HEADER_VALUE = r"^[!-~]([\t -~]{0,4094}[!-~])?$"

_FRAMING = "is how the gateway and its neighbours speak to each other"
_IDENTITY = "tells the upstream who calls, and only the gateway may"
_LIMITS = "tells callers about their limits, and only the gateway may"
_PLACE = "says where the call came from, and only the gateway may"

_REFUSED = {
    **dict.fromkeys(
        b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer"
        b" transfer-encoding upgrade content-length expect".split(),
        _FRAMING,
    ),
    b"host": "is chosen with `host_header` of the upstream",
    b"forwarded": _PLACE,
    b"x-real-ip": _PLACE,
}
_REFUSED_STARTS = {b"tollway-": _IDENTITY, b"x-forwarded-": _PLACE, b"ratelimit": _LIMITS}


def check_header_name(value: object) -> str:
    """The name of a header field that policies may change."""
    text = value if isinstance(value, str) else ""
    if re.fullmatch(HEADER_NAME, text) is None:
        raise ValueError(f"must be the name of a header such as X-Api-Version, got {shown(value)}")
    name = folded(text.encode())
    starts = [reason for start, reason in _REFUSED_STARTS.items() if name.startswith(start)]
    reason = _REFUSED.get(name) or (starts[0] if starts else None)
    if reason is not None:
        raise ValueError(f"may not be {shown(text)}: that {reason}")
    return text


def check_header_value(value: object) -> str:
    """One line of printable ASCII."""
    if isinstance(value, str) and re.fullmatch(HEADER_VALUE, value):
        return value
    wanted = "one line of at most 4096 printable ASCII characters, without spaces at its ends"
    raise ValueError(f"must be {wanted}" if isinstance(value, str) else f"must be text in quotes, {wanted}")
