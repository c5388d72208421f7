"""What a route changes of a call on its way, worked out when the policies are compiled."""

from __future__ import annotations

from dataclasses import dataclass

_FOLD = bytes(
    ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else ord("-") for code in range(256)
)


def folded(name: bytes) -> bytes:
    """What spellings of a field name have in common that a server may take for the same.

    Case never matters, and servers that make variables of names (CGI, WSGI) write all but letters and digits
    as one character.
    """
    return name.translate(_FOLD)


@dataclass(frozen=True, slots=True)
class PathChange:
    """How the path that the upstream gets is made of the one that was matched. Canonical again.

    `start` holds its first segments: text, or the number of a segment of the caller's, counted from 1. `rest`
    is the number from which on the caller's follow, with the slash at the end if there is one; None: none do.
    """

    start: tuple[str | int, ...]
    rest: int | None

    def apply(self, path: str) -> str:
        """The new path. Segments stay as they are, so what was canonical still is."""
        segments = path.split("/")
        made = [one if isinstance(one, str) else segments[one] for one in self.start]
        if self.rest is not None:
            made += segments[self.rest :]
        return "/" + "/".join(made)


@dataclass(frozen=True, slots=True)
class HeaderChange:
    """Which header lines are left out, whoever wrote them and however, and which are put there instead."""

    dropped: frozenset[bytes]  # as `folded` spells them
    added: bytes  # complete lines

    def without_dropped(self, lines: list[bytes]) -> list[bytes]:
        """The lines that stay. `lines` are any pieces that join to complete lines, and so is the result."""
        dropped = self.dropped
        if not dropped:
            return lines
        kept = [
            line + b"\r\n"
            for line in b"".join(lines).split(b"\r\n")
            if line and line.partition(b":")[0].translate(_FOLD) not in dropped
        ]
        return [b"".join(kept)]

    def apply(self, lines: list[bytes]) -> list[bytes]:
        """The lines that stay and those that are added, as pieces. Never changes `lines`."""
        return [*self.without_dropped(lines), self.added]


@dataclass(frozen=True, slots=True)
class RequestChange:
    """All that changes of a request. None: that part stays as it is."""

    path: PathChange | None
    headers: HeaderChange | None

    def target(self, path: str, query: bytes) -> bytes:
        """The target that the upstream is asked for. The query is never touched."""
        return (self.path.apply(path) if self.path is not None else path).encode() + query

    def lines(self, lines: list[bytes]) -> list[bytes]:
        """The caller's header lines as the upstream gets them."""
        return self.headers.apply(lines) if self.headers is not None else lines
