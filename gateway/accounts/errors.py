"""How a wish about accounts and keys can fail."""

from __future__ import annotations

from gateway.errors import TollwayError


class NotFound(TollwayError):
    """There is no such account or key."""


class Conflict(TollwayError):
    """What is there does not go together with what was asked for."""


class Invalid(TollwayError):
    """A value can not be taken. `field` is the name of the argument; the message never repeats the value."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(f"{field}: {message}")
