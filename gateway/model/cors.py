"""Which pages of other origins may read a route's answers (the CORS protocol of the Fetch standard)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_VARY_OF_PREFLIGHTS = b"Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n"


@dataclass(frozen=True, slots=True)
class Cors:
    """What browsers are told on one route. All lines are complete, `Vary` aside."""

    origins: re.Pattern[bytes] | None  # None: every origin, and without credentials
    answer_lines: bytes  # what allowed origins are told with every answer
    preflight_lines: bytes  # what they are told beforehand
    any_header: bool = False  # whatever they ask for beforehand, they may send

    def of_answer(self, origin: bytes | None) -> bytes:
        """The lines of any answer to a request with this `Origin`, or without one."""
        allowed = self._allow_origin(origin)
        return self._vary + (allowed + self.answer_lines if allowed else b"")

    def of_preflight(self, origin: bytes, headers: bytes | None) -> bytes:
        """The lines of the answer to a preflight; `headers` are those it asks for."""
        lines = self._vary + _VARY_OF_PREFLIGHTS
        allowed = self._allow_origin(origin)
        if not allowed:
            return lines
        if self.any_header and headers is not None and _NAMES.fullmatch(headers):
            lines += b"Access-Control-Allow-Headers: %b\r\n" % headers
        return lines + allowed + self.preflight_lines

    def _allow_origin(self, origin: bytes | None) -> bytes:
        if self.origins is None:
            return b"Access-Control-Allow-Origin: *\r\n"
        if origin is None or self.origins.fullmatch(origin) is None:
            return b""
        return b"Access-Control-Allow-Origin: %b\r\n" % origin

    @property
    def _vary(self) -> bytes:
        """Caches must not give one origin what was said to another, nor to none."""
        return b"" if self.origins is None else b"Vary: Origin\r\n"
