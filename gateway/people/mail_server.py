"""Where mails are handed over, as the setting says it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed over. `encrypted` from the first byte; else by STARTTLS, unless `plain`."""

    host: str
    port: int
    encrypted: bool
    plain: bool = False
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> MailServer:
        """Read `smtp://user:password@host:587` or `smtps://...`; ValueError repeats nothing of it."""
        wrong = ValueError("must be like smtp://user:password@host:587 or smtps://user:password@host:465")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise wrong from None
        if (
            parts.scheme not in {"smtp", "smtps"}
            or not parts.hostname
            or parts.path not in {"", "/"}
            or parts.fragment
        ):
            raise wrong
        if parts.query not in {"", "tls=no"} or (parts.query and parts.scheme == "smtps"):
            raise ValueError("has an option that is not understood; there is `tls=no`, for smtp://")
        encrypted = parts.scheme == "smtps"
        return cls(
            parts.hostname,
            port or (465 if encrypted else 587),
            encrypted,
            plain=bool(parts.query),
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )


def parse_sender(text: str) -> str:
    """The address that mails come from; ValueError says what it must be."""
    if not re.fullmatch(r"[!-~]+@[A-Za-z0-9.-]+", text):
        raise ValueError("must be a mail address like gateway@example.com")
    return text
