"""How scopes of limits are written: whose calls share a counter."""

from __future__ import annotations

import re
from difflib import get_close_matches

from gateway.model.policies import Scope
from gateway.policy.problems import quoted, shown

PARTS = ("account", "key", "ip", "route")
HEADER = "header:"
CLAIM = "claim:"
PART = r"^(account|key|ip|route|header:[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}|claim:[!-~]{1,200})$"

_NOT_SEEN = """
authorization x-api-key host connection keep-alive proxy-connection proxy-authenticate proxy-authorization te
trailer transfer-encoding upgrade content-length expect forwarded x-real-ip x-original-url x-rewrite-url
x-http-method x-http-method-override x-method-override
"""
NOT_SEEN = frozenset(_NOT_SEEN.split())
"""Headers that the gateway reads, sets or drops: no scope can go by them."""
NOT_SEEN_PREFIXES = ("x-forwarded-", "tollway-")


def check_scope(value: object) -> object:
    """One part, or a list of different ones."""
    parts = value if isinstance(value, list) else [value]
    if not parts:
        raise ValueError("must not be empty; write at least one, or remove the key")
    for part in parts:
        _check_part(part)
    if len({_meant(str(part)) for part in parts}) < len(parts):
        raise ValueError("names a part twice; remove one")
    return value


def _check_part(part: object) -> None:
    text = part if isinstance(part, str) else ""
    if re.fullmatch(PART, text) is None:
        near = get_close_matches(text[:64], PARTS, n=1)
        hint = f". Did you mean {quoted(near[0])}?" if near else ""
        named = ", ".join(map(quoted, PARTS))
        raise ValueError(
            f"must be {named}, header:<name> or claim:<name>, or a list of these, got {shown(part)}{hint}"
        )
    if not text.startswith(HEADER):
        return
    name = text.removeprefix(HEADER).lower()
    if name in ("authorization", "x-api-key"):
        raise ValueError(f"can not go by the header {quoted(name)}; to tell keys apart, write key")
    if name.startswith("x-forwarded-for") or name in ("forwarded", "x-real-ip"):
        raise ValueError(f"can not go by the header {quoted(name)}; to tell addresses apart, write ip")
    if name.replace("_", "-") in NOT_SEEN or name.replace("_", "-").startswith(NOT_SEEN_PREFIXES):
        raise ValueError(f"can not go by the header {quoted(name)}: the gateway takes it out or sets it")


def claims_in(value: str | list[str]) -> list[str]:
    """The claims of tokens that a checked scope goes by."""
    return [part.removeprefix(CLAIM) for part in scope(value) if part.startswith(CLAIM)]


def _meant(part: str) -> str:
    """Headers have no case, claims have."""
    return part if part.startswith(CLAIM) else part.lower()


def scope(value: str | list[str]) -> Scope:
    """A checked scope as calls are told apart by it."""
    parts = {_meant(part) for part in ([value] if isinstance(value, str) else value)}
    if "key" in parts:
        parts.add("account")
    return tuple(sorted(parts))
