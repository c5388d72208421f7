"""How else a path can be written."""

from __future__ import annotations

import itertools

REFUSED = [
    b"/free/%2e%2e%2fpremium", b"/premium%2fx", b"/premium%2Fx", b"/premium%5cx", b"/premium\\x",
    b"/premium%00",
    b"/premium%zz", b"/premium%", b"/premium%2", b"/premium;x", b"/premium/x;y=z", b"/premium#x",
    b"/%252e%252e/p",
    b"/%c0%ae%c0%ae/premium", b"/%c0%af", b"/%ff", b"/%ed%a0%80", b"/%25%32%65", b"/a%2", b"/%u002e", b"*",
    b"/\xc3\xa4", b"/\x7f",
]  # fmt: skip


def spellings() -> list[bytes]:
    """Some thousand ways to write /premium/x, and what lies near."""
    ps = [b"p", b"%70", b"P", b"%50", b"%2570"]
    slashes = [
        b"/",
        b"//",
        b"/./",
        b"/.//",
        b"/a/../",
        b"/%2e/",
        b"/a/%2E%2e/",
        b"%2f",
        b"\\",
        b"/;/",
    ]
    ends = [
        b"x",
        b"x/",
        b"x/.",
        b"x/..",
        b"x%20",
        b"x.",
        b"x%2e",
        b"x;",
        b"%78",
        b"x%00",
        b"x/../x",
        b"x?",
        b"x?/../y",
    ]
    starts = [b"", b"/free/..", b"/free/%2e%2e", b"/free//..", b"/.."]
    return [
        start + first + letter + b"remium" + second + end
        for start, first, letter, second, end in itertools.product(starts, slashes, ps, slashes, ends)
    ]  # fmt: skip
