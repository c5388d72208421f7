"""How the texts of settings are read. Each says in a ValueError what is wrong, without the setting's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

_KEY_PREFIX = re.compile(r"[a-z][a-z0-9]{1,15}")


def as_url(*schemes: str) -> Callable[[str], str]:
    """A URL of one of these schemes."""

    def parse(text: str) -> str:
        # The value may hold a password: it is never repeated.
        if text.partition("://")[0] not in schemes or not text.partition("://")[2]:
            raise ValueError(
                f"must be a URL that starts with {' or '.join(f'{name}://' for name in schemes)}"
            )
        return text

    return parse


def as_secret(least: int) -> Callable[[str], str]:
    """A secret of so many characters or more, which is never repeated."""

    def parse(text: str) -> str:
        if len(text) < least or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(f"must be at least {least} printable ASCII characters without spaces")
        return text

    return parse


def as_whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number in this range."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, got {text!r}")
        return int(text)

    return parse


def as_choice(*names: str) -> Callable[[str], str]:
    """One of these words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"must be {', '.join(names[:-1])} or {names[-1]}, got {text!r}")
        return text.lower()

    return parse


def as_flag(text: str) -> bool:
    """Yes or no."""
    if text.lower() not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ValueError(f"must be yes or no, got {text!r}")
    return text.lower() in {"1", "true", "yes", "on"}


def as_key_prefix(text: str) -> str:
    """What new API keys begin with."""
    if not _KEY_PREFIX.fullmatch(text):
        raise ValueError(f"must be 2 to 16 of a-z and 0-9 and start with a letter, got {text!r}")
    return text


def as_path(text: str) -> Path:
    """A path; `~` is the user's home."""
    return Path(text).expanduser()
