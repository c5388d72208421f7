"""Opaque tokens."""

from __future__ import annotations

from gateway.people.tokens import Purpose, digest_of, mint, successor


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


def test_one_token_follows_another_and_only_the_key_tells_which() -> None:
    token, _ = mint(Purpose.REFRESH)
    following, digest = successor(Purpose.REFRESH, token, b"key")
    assert successor(Purpose.REFRESH, token, b"key") == (following, digest)
    assert digest_of(Purpose.REFRESH, following) == digest
    others = {
        successor(Purpose.REFRESH, token, b"other")[0],
        successor(Purpose.REFRESH, following, b"key")[0],
    }
    assert len({token, following, *others}) == 4
