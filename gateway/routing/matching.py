"""All route patterns of a snapshot in one tree of segments: a hundred routes cost as little as one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.model.policies import Route

_ENCODED_ASCII = re.compile(r"%(2[0-46-9A-E]|[346][0-9A-F]|5[0-9ABD-F]|7[0-9A-E])")


def folded(path: str) -> str:
    """A canonical path with its reserved characters decoded: `/a%3Ab` and `/a:b` are one to most upstreams.

    For comparing only. Percent signs stay encoded, so no two different paths fall together.
    """
    return _ENCODED_ASCII.sub(lambda escape: chr(int(escape.group(1), 16)), path) if "%" in path else path


def _host_ends(route: Route) -> tuple[str, ...]:
    """How hosts end that a wildcard takes: `*.example.com` takes whatever has `.example.com` behind it."""
    return tuple(host.removeprefix("*") for host in route.hosts if host.startswith("*."))


class _Node:
    __slots__ = ("any_segment", "below", "ends", "segments")

    def __init__(self) -> None:
        self.segments: dict[str, _Node] = {}
        self.any_segment: _Node | None = None  # `*`, or with a name `{name}`
        self.ends: list[int] = []  # routes whose pattern ends here
        self.below: list[int] = []  # routes whose pattern goes on with `**`


class PathIndex:
    """Finds the first route, in the given order, whose pattern, method and host match."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)
        self._host_ends = [_host_ends(route) for route in self._routes]
        self._root = _Node()
        for position, route in enumerate(self._routes):
            self._add(route.path, position)

    def _add(self, pattern: str, position: int) -> None:
        node = self._root
        segments = [segment for segment in pattern.split("/") if segment]
        below = segments[-1:] == ["**"]
        for segment in segments[:-1] if below else segments:
            if segment == "*" or segment.startswith("{"):
                node.any_segment = node.any_segment or _Node()
                node = node.any_segment
            else:
                node = node.segments.setdefault(folded(segment), _Node())
        (node.below if below else node.ends).append(position)

    def find(self, method: str, host: str, path: str) -> Route | None:
        """The route for a canonical path, or None."""
        for position in self._positions(path):
            route = self._routes[position]
            if (not route.methods or method in route.methods) and self._takes_host(position, host):
                return route
        return None

    def considered(self, method: str, host: str, path: str) -> list[tuple[Route, str]]:
        """Every route whose pattern matches, in order, and why it is not taken; empty for the one that is."""
        found: list[tuple[Route, str]] = []
        taken = ""
        for position in self._positions(path):
            route, why = self._routes[position], ""
            if route.methods and method not in route.methods:
                why = f"takes {', '.join(sorted(route.methods))}, not {method}"
            elif not self._takes_host(position, host):
                why = f"is for {', '.join(sorted(route.hosts))}"
            elif taken:
                why = f"comes after {taken} in the files"
            else:
                taken = route.name
            found.append((route, why))
        return found

    def _takes_host(self, position: int, host: str) -> bool:
        hosts = self._routes[position].hosts
        below = host.endswith(self._host_ends[position]) and not host.startswith(".")
        return below or not hosts or host in hosts

    def _positions(self, path: str) -> list[int]:
        """Routes whose pattern matches, in order. One trailing slash makes no difference."""
        found: list[int] = []
        nodes = [self._root]
        for segment in [segment for segment in folded(path).split("/") if segment]:
            following: list[_Node] = []
            for node in nodes:
                found += node.below
                if segment in node.segments:
                    following.append(node.segments[segment])
                if node.any_segment:
                    following.append(node.any_segment)
            nodes = following
            if not nodes:
                break
        for node in nodes:
            found += node.below
            found += node.ends
        return sorted(found)
