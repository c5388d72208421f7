"""Opaque tokens."""

from __future__ import annotations

from gateway.people.tokens import Purpose, digest_of, mint


def test_a_token_has_a_digest_and_a_purpose() -> None:
    for purpose in Purpose:
        token, digest = mint(purpose)
        assert token.startswith(purpose.value)
        assert digest_of(purpose, token) == digest
        assert [digest_of(other, token) for other in Purpose if other is not purpose] == [None] * 3


def test_what_can_not_be_a_token_is_not_looked_up() -> None:
    token, _ = mint(Purpose.RESET)
    for text in ("", token[:-1], token + "0", token.upper(), token + "\n", "\ud800", Purpose.RESET.value):
        assert digest_of(Purpose.RESET, text) is None
