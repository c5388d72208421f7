"""Which credential is ours, and what goes on to the upstream."""

from __future__ import annotations

import pytest

from gateway.auth.credentials import Credentials
from gateway.errors import Unauthenticated
from gateway.model.exchange import RequestHead

OURS = b"tw_live_ours"
OTHER = b"tw_live_other"


def head(authorization: bytes | None, api_key: bytes | None) -> RequestHead:
    made = RequestHead()
    made.authorization, made.api_key = authorization, api_key
    made.lines = [b"Accept", b": ", b"*/*", b"\r\n"]
    return made


@pytest.mark.parametrize(
    ("case", "authorization", "api_key", "secret", "passed_on"),
    [
        ("nothing", None, None, None, b""),
        ("a bearer key", b"Bearer " + OURS, None, OURS, b""),
        ("the scheme in lower case", b"bearer " + OURS, None, OURS, b""),
        ("the scheme in capitals", b"BEARER " + OURS, None, OURS, b""),
        ("spaces around the token", b"Bearer   " + OURS + b" ", None, OURS, b""),
        ("X-API-Key alone", None, OURS, OURS, b""),
        ("X-API-Key of another shape is still ours", None, b"legacy", b"legacy", b""),
        (
            "the upstream's bearer token",
            b"Bearer eyJ.a.b",
            None,
            None,
            b"Authorization: Bearer eyJ.a.b\r\n",
        ),
        (
            "the upstream's basic log-in beside our key",
            b"Basic dTpw",
            OURS,
            OURS,
            b"Authorization: Basic dTpw\r\n",
        ),
        (
            "the upstream's bearer token beside our key",
            b"Bearer eyJ.a.b",
            OURS,
            OURS,
            b"Authorization: Bearer eyJ.a.b\r\n",
        ),
        ("a scheme without a token", b"Bearer", OURS, OURS, b"Authorization: Bearer\r\n"),
        ("an empty token", b"Bearer ", OURS, OURS, b"Authorization: Bearer \r\n"),
        ("the same key twice", b"Bearer " + OURS, OURS, OURS, b""),
        ("a bearer key beats a foreign X-API-Key", b"Bearer " + OURS, b"legacy", OURS, b""),
        (
            "the prefix must be whole",
            b"Bearer twx_live_a",
            None,
            None,
            b"Authorization: Bearer twx_live_a\r\n",
        ),
    ],
)
def test_picks_our_credential_and_leaves_the_upstream_its_own(
    case: str, authorization: bytes | None, api_key: bytes | None, secret: bytes | None, passed_on: bytes
) -> None:
    request = head(authorization, api_key)
    assert Credentials("tw").take(request, forward=False) == secret, case
    assert b"".join(request.lines) == b"Accept: */*\r\n" + passed_on, case


@pytest.mark.parametrize("forward", [False, True])
def test_two_different_keys_of_ours_are_refused(forward: bool) -> None:
    with pytest.raises(Unauthenticated):
        Credentials("tw").take(head(b"Bearer " + OURS, OTHER), forward=forward)


@pytest.mark.parametrize(
    ("case", "authorization", "api_key", "passed_on"),
    [
        ("a bearer key", b"Bearer " + OURS, None, b"Authorization: Bearer " + OURS + b"\r\n"),
        ("X-API-Key", None, OURS, b"X-API-Key: " + OURS + b"\r\n"),
        (
            "both",
            b"Basic dTpw",
            OURS,
            b"Authorization: Basic dTpw\r\nX-API-Key: " + OURS + b"\r\n",
        ),
        ("nothing", None, None, b""),
    ],
)
def test_a_route_that_forwards_credentials_sends_them_as_they_came(
    case: str, authorization: bytes | None, api_key: bytes | None, passed_on: bytes
) -> None:
    request = head(authorization, api_key)
    Credentials("tw").take(request, forward=True)
    assert b"".join(request.lines) == b"Accept: */*\r\n" + passed_on, case


def test_another_prefix_is_another_gateways() -> None:
    assert Credentials("acme").take(head(b"Bearer " + OURS, None), forward=False) is None
    assert Credentials("acme").take(head(b"Bearer acme_live_x", None), forward=False) == b"acme_live_x"
