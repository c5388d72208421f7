"""What may be stored: each check returns the value or raises `Invalid` for its field."""

from __future__ import annotations

import re
import unicodedata

from gateway.errors import Invalid

NAME_MAX = 200
PAGE_MAX = 1000
OVERLAP_MAX_S = 365 * 86400
TIER = re.compile(r"[a-z][a-z0-9_-]{0,62}")
PUBLIC_ID = re.compile(r"(acct|key)_[0-9A-Za-z]{16,40}")
STATUSES = ("active", "suspended")
FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, halves of surrogate pairs, line and paragraph separators."""


def check_name(field: str, value: str, *, may_be_empty: bool = False) -> str:
    """A text for people: 1 to 200 characters, not only spaces, nothing that breaks a line."""
    if may_be_empty and value == "":
        return value
    if not value.strip() or len(value) > NAME_MAX:
        raise Invalid(field, f"must have 1 to {NAME_MAX} characters")
    if any(unicodedata.category(character) in FORBIDDEN for character in value):
        raise Invalid(field, "must not have control characters or line breaks")
    return value


def check_tier(value: str) -> str:
    """The shape of a tier's name, as in the policies; it is sent upstream in a header."""
    if not TIER.fullmatch(value):
        raise Invalid("tier", "must be the name of a tier, as the policies spell it")
    return value


def check_status(value: str) -> str:
    if value not in STATUSES:
        raise Invalid("status", "must be `active` or `suspended`")
    return value


def check_limit(value: int) -> int:
    if not 1 <= value <= PAGE_MAX:
        raise Invalid("limit", f"must be 1 to {PAGE_MAX}")
    return value


def check_overlap(seconds: int) -> int:
    if not 0 <= seconds <= OVERLAP_MAX_S:
        raise Invalid("overlap_s", f"must be 0 to {OVERLAP_MAX_S} seconds")
    return seconds


def is_public_id(value: str, kind: str) -> bool:
    """Whether it could be the public id of an `acct` or a `key`; others are not asked about."""
    match = PUBLIC_ID.fullmatch(value)
    return match is not None and match[1] == kind
