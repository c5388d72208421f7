"""What may be stored: each check returns the value or raises `Invalid` for its field."""

from __future__ import annotations

import re
import unicodedata
import zoneinfo
from collections.abc import Iterable, Mapping

from gateway.errors import Invalid
from gateway.model.networks import parse_network

NAME_MAX = 200
PAGE_MAX = 1000
OVERLAP_MAX_S = 365 * 86400
LIFE_MAX_S = 10 * 365 * 86400
METADATA_MAX = 50
METADATA_NAME_MAX = 40
METADATA_VALUE_MAX = 500
RESTRICTION_MAX = 100
TIER = re.compile(r"[a-z][a-z0-9_-]{0,62}")
METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
SCOPE = re.compile(r"[!#-\[\]-~]{1,100}")
PUBLIC_ID = re.compile(r"(acct|key)_[0-9A-Za-z]{16,40}")
STATUSES = ("draft", "active", "past_due", "suspended", "cancelled")
"""Accounts that are `active` or `past_due` may call."""
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
        raise Invalid("status", f"must be one of {', '.join(STATUSES)}")
    return value


def check_time_zone(value: str) -> str:
    """A name of the IANA time zone database, like `Europe/Berlin`."""
    if value not in zoneinfo.available_timezones():
        raise Invalid("time_zone", "must be a name like `Europe/Berlin` or `UTC`")
    return value


def check_metadata(value: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """A few short texts that the gateway keeps for its operator and never reads."""
    if len(value) > METADATA_MAX:
        raise Invalid("metadata", f"must have at most {METADATA_MAX} names")
    for name, text in value.items():
        if not name or len(name) > METADATA_NAME_MAX or not name.isprintable():
            raise Invalid("metadata", f"must have names of 1 to {METADATA_NAME_MAX} printable characters")
        if text is not None and (len(text) > METADATA_VALUE_MAX or "\0" in text or not _is_unicode(text)):
            raise Invalid("metadata", f"must have values of at most {METADATA_VALUE_MAX} characters")
    return value


def check_life(seconds: int | None) -> int | None:
    if seconds is not None and not 1 <= seconds <= LIFE_MAX_S:
        raise Invalid("expires_in_s", f"must be 1 to {LIFE_MAX_S} seconds")
    return seconds


def check_routes(values: Iterable[str]) -> list[str] | None:
    """Names of routes; whether the policies have them is for the caller to check. None for none."""
    routes = _few("only_routes", values)
    for name in routes:
        check_name("only_routes", name)
    return routes or None


def check_methods(values: Iterable[str]) -> list[str] | None:
    """HTTP methods in capitals. None for none."""
    methods = _few("only_methods", values)
    if not all(METHOD.fullmatch(method) for method in methods):
        raise Invalid("only_methods", "must be methods in capitals, like GET")
    return methods or None


def check_networks(field: str, values: Iterable[str]) -> list[str] | None:
    """Addresses or CIDR ranges, read as in policies and made canonical. None for none."""
    networks = _few(field, values)
    try:
        return sorted({str(parse_network(network)) for network in networks}) or None
    except ValueError:
        raise Invalid(
            field, "must be addresses or ranges like 192.0.2.0/24, with no bits behind the prefix"
        ) from None


def check_scopes(values: Iterable[str] | None) -> list[str] | None:
    """Scopes as OAuth spells them (RFC 6749, section 3.3). None: all that routes may require."""
    if values is None:
        return None
    scopes = _few("scopes", values)
    if not all(SCOPE.fullmatch(scope) for scope in scopes):
        raise Invalid(
            "scopes", "must be 1 to 100 printable ASCII characters each, no spaces, quotes, backslashes"
        )
    return scopes


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


def _few(field: str, values: Iterable[str]) -> list[str]:
    found = sorted(set(values))
    if len(found) > RESTRICTION_MAX:
        raise Invalid(field, f"must have at most {RESTRICTION_MAX} entries")
    return found


def _is_unicode(text: str) -> bool:
    return not any(unicodedata.category(character) == "Cs" for character in text)
