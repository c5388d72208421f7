"""What may be stored of people: each check returns the value or raises `Invalid` for its field."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from gateway.errors import Invalid
from gateway.people.roles import ROLES

NAME_MAX = 200
EMAIL_MAX = 254  # RFC 5321, section 4.5.3.1.3, less the angle brackets
LOCAL_MAX = 64
PASSWORD_MIN = 10
PASSWORD_MAX = 1024
"""Long ones cost time to read; no one types more."""
FEWEST_CHARACTERS = 4
"""A password of three different characters, however often, is soon guessed."""

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])"
)
_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_COMMON = frozenset((Path(__file__).parent / "common_passwords.txt").read_text(encoding="ascii").split())


def check_email(value: str, field: str = "email") -> str:
    """A mail address as it is put into headers: printable ASCII, nothing quoted, a domain with a dot."""
    local, _, domain = value.rpartition("@")
    if (
        len(value) > EMAIL_MAX
        or len(local) > LOCAL_MAX
        or not (_LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain))
    ):
        raise Invalid(field, "must be a mail address like name@example.com")
    return value


def check_name(value: str, field: str = "name") -> str:
    """How a person or an account is called: up to 200 characters, nothing that breaks a line."""
    if len(value) > NAME_MAX or any(unicodedata.category(one) in _FORBIDDEN for one in value):
        raise Invalid(
            field, f"must have at most {NAME_MAX} characters, without control characters or line breaks"
        )
    return value.strip()


def check_password(value: str, email: str, field: str = "password") -> str:
    """A password that is neither short nor among the first that are guessed. Any characters will do."""
    if not PASSWORD_MIN <= len(value) <= PASSWORD_MAX:
        raise Invalid(field, f"must have {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    folded = value.casefold()
    bare = folded.strip("0123456789!?.*#$@ -_")
    if folded in _COMMON or bare in _COMMON or len(set(folded)) < FEWEST_CHARACTERS:
        raise Invalid(
            field, "is among the first that are guessed; take several words, or what a password manager makes"
        )
    if folded in {email.casefold(), email.partition("@")[0].casefold()}:
        raise Invalid(field, "must not be the mail address")
    return value


def check_role(value: str) -> str:
    """One of the roles."""
    if value not in ROLES:
        raise Invalid("role", f"must be one of: {', '.join(ROLES)}")
    return value
