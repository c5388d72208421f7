"""Whether a caller was given what the route asks for. Routes that ask for nothing do not come here."""

from __future__ import annotations

from gateway.errors import InsufficientScope
from gateway.model.principal import Principal


def expect_scopes(principal: Principal, needed: frozenset[str]) -> None:
    """Raises InsufficientScope unless the caller's key or token has all of them, or is not told apart."""
    held = principal.scopes
    if held is None or needed <= held:
        return
    listed = sorted(needed)
    missing = ", ".join(f"`{scope}`" for scope in listed if scope not in held)
    # Scopes of policies hold nothing that could end the text or the line.
    challenge = f'Bearer realm="tollway", error="insufficient_scope", scope="{" ".join(listed)}"'
    raise InsufficientScope(
        f"This call needs scopes that your key or token lacks: {missing}.",
        headers=f"WWW-Authenticate: {challenge}\r\n".encode("ascii"),
        extensions={"required_scopes": listed},
    )
