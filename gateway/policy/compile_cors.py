"""From a CORS profile to what the routes that name it tell browsers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.model.cors import Cors
from gateway.policy.cors_documents import EVERY, CorsDocument
from gateway.policy.texts import duration_ms, with_head

USUAL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
OURS = ("RateLimit", "RateLimit-Policy", "Retry-After", "Tollway-Request-Id")
"""What the gateway itself adds to answers, for programs to read."""

_BELOW = r"(?:[a-z0-9_-]+\.)+"


def compile_cors(document: CorsDocument, methods: Iterable[str] | None) -> Cors:
    """The profile on a route that takes these methods, or every one.

    A preflight never allows a method that another route may take: that one's CORS decides.
    """
    taken = with_head(methods or ())
    allowed = document.methods or taken or USUAL_METHODS
    if taken:
        allowed = [method for method in allowed if method in taken]
    any_header = EVERY in document.headers
    credentials = b"Access-Control-Allow-Credentials: true\r\n" if document.credentials else b""
    preflight = _line("Allow-Methods", allowed)
    preflight += b"" if any_header else _line("Allow-Headers", document.headers)
    preflight += _line("Max-Age", [str(duration_ms(document.max_age) // 1000)])
    exposed = [EVERY] if EVERY in document.expose else [*OURS, *document.expose]
    return Cors(
        origins=None if EVERY in document.origins else _origins(document.origins),
        answer_lines=credentials + _line("Expose-Headers", exposed),
        preflight_lines=credentials + preflight,
        any_header=any_header,
    )


def _line(name: str, values: Iterable[str]) -> bytes:
    """A complete line; none without values."""
    text = ", ".join(values)
    return f"Access-Control-{name}: {text}\r\n".encode("ascii") if text else b""


def _origins(origins: Iterable[str]) -> re.Pattern[bytes]:
    patterns = [_BELOW.join(map(re.escape, origin.split("*."))) for origin in origins]
    return re.compile("|".join(patterns).encode("ascii"))
