"""Which header of a request is ours, and which belongs to the upstream."""

from __future__ import annotations

from gateway.errors import Unauthenticated
from gateway.model.exchange import RequestHead


class Credentials:
    """Tells our keys, which begin with `<key_prefix>_`, from what others put into the same headers.

    `foreign`: keys may begin with anything, so every bearer token is taken for one.
    """

    def __init__(self, key_prefix: str, *, foreign: bool = False) -> None:
        self._marker = b"" if foreign else f"{key_prefix}_".encode()
        self._usual = b"Bearer " + self._marker

    def choose(self, authorization: bytes | None, api_key: bytes | None) -> tuple[bytes | None, bool]:
        """The credential meant for us, and whether it came from `Authorization`.

        That is a bearer token that begins like our keys, else `X-API-Key` as it is. The scheme may be in any
        case (RFC 9110, section 11.1). Raises `Unauthenticated` when both headers carry a key of ours and the
        two differ: we do not guess.
        """
        token = bearer_token(authorization)
        if token is None or not token.startswith(self._marker):
            return api_key, False
        if api_key is not None and api_key != token and api_key.startswith(self._marker):
            raise Unauthenticated(internal="two different keys in one request")
        return token, True

    def take(self, head: RequestHead, *, forward: bool) -> bytes | None:
        """The credential meant for us, out of `head`. What is not ours goes back into `head.lines`.

        An `Authorization` that is not ours belongs to the upstream. `X-API-Key` is always ours. `forward`
        (the route forwards credentials) sends both on as they came. Raises `Unauthenticated` like `choose`.
        """
        authorization, api_key = head.authorization, head.api_key
        if authorization is None:
            if forward and api_key is not None:
                head.lines += (b"X-API-Key: ", api_key, b"\r\n")
            return api_key
        if api_key is None and not forward and authorization.startswith(self._usual):
            return authorization[7:]  # what nearly every call does, without the cost of the general rule
        secret, from_authorization = self.choose(authorization, api_key)
        if forward or not from_authorization:
            head.lines += (b"Authorization: ", authorization, b"\r\n")
        if forward and api_key is not None:
            head.lines += (b"X-API-Key: ", api_key, b"\r\n")
        return secret


def bearer_token(authorization: bytes | None) -> bytes | None:
    """The token of a bearer `Authorization` (RFC 6750), or None."""
    if authorization is None or authorization[:7].lower() != b"bearer ":
        return None
    return authorization[7:].strip(b" ")
