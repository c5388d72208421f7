"""The format of keys: what is minted is well-formed, and next to nothing else is."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.keys import ALPHABET, PREFIX, describe, digest, is_well_formed, mint
from gateway.model.principal import Mode

prefixes = st.from_regex(PREFIX, fullmatch=True)
modes = st.sampled_from(Mode)


@given(prefixes, modes)
def test_what_is_minted_is_well_formed_and_described_by_its_parts(prefix: str, mode: Mode) -> None:
    minted = mint(prefix, mode)
    assert is_well_formed(minted.secret.encode())
    assert minted.visible is not None
    assert minted.last_four is not None
    assert minted.secret.startswith(minted.visible)
    assert minted.visible == f"{prefix}_{mode.value}_"
    assert minted.secret.endswith(minted.last_four)
    assert len(minted.secret) == len(minted.visible) + 30
    assert minted.digest == hashlib.sha256(minted.secret.encode()).digest() == digest(minted.secret.encode())
    assert describe(minted.secret) == minted


def test_two_keys_are_never_the_same() -> None:
    assert len({mint("tw", Mode.LIVE).secret for _ in range(1000)}) == 1000


def test_the_secret_is_not_in_the_repr() -> None:
    minted = mint("tw", Mode.LIVE)
    assert minted.secret not in repr(minted)


def test_the_format_stays_readable_by_later_releases() -> None:
    """Keys are out there: a change of the checksum would lock everyone out."""
    assert is_well_formed(b"tw_live_0123456789ABCDEFGHIJKLMN" + b"1PINRK")


@given(st.binary(max_size=200))
def test_random_garbage_is_refused(garbage: bytes) -> None:
    assert not is_well_formed(garbage)


@given(st.from_regex(rb"[a-z][a-z0-9]{1,15}_(live|test)_[0-9A-Za-z]{30}", fullmatch=True))
def test_the_right_shape_alone_is_refused(guess: bytes) -> None:
    assert not is_well_formed(guess)


@given(prefixes, modes, st.data())
def test_any_single_changed_character_is_refused(prefix: str, mode: Mode, data: st.DataObject) -> None:
    secret = mint(prefix, mode).secret.encode()
    position = data.draw(st.integers(0, len(secret) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != secret[position]))
    assert not is_well_formed(secret[:position] + bytes([other]) + secret[position + 1 :])


@given(prefixes, modes, st.data())
def test_any_two_swapped_neighbours_are_refused(prefix: str, mode: Mode, data: st.DataObject) -> None:
    secret = mint(prefix, mode).secret.encode()
    at = data.draw(st.integers(0, len(secret) - 2))
    swapped = secret[:at] + secret[at + 1 : at + 2] + secret[at : at + 1] + secret[at + 2 :]
    assert is_well_formed(swapped) == (swapped == secret)


@given(prefixes, modes, st.binary(min_size=1, max_size=5))
def test_anything_added_or_cut_off_is_refused(prefix: str, mode: Mode, extra: bytes) -> None:
    secret = mint(prefix, mode).secret.encode()
    assert not is_well_formed(secret + extra)
    assert not is_well_formed(extra + secret)
    assert not is_well_formed(secret[: -len(extra)])


@pytest.mark.parametrize(
    ("case", "secret"),
    [
        ("nothing", b""),
        pytest.param(
            "a line break behind a good key", mint("tw", Mode.LIVE).secret.encode() + b"\n", id="line break"
        ),
        ("a megabyte", b"tw_live_" + b"a" * 1_000_000),
        ("a megabyte of underscores", b"_" * 1_000_000),
        ("a mode nobody knows", b"tw_demo_" + ALPHABET[:30].encode()),
        ("bytes outside ASCII", b"tw_live_" + "é".encode() * 15),
    ],
)
def test_odd_input_is_refused(case: str, secret: bytes) -> None:
    assert not is_well_formed(secret)


@pytest.mark.parametrize("secret", ["", "tw_live_x", "\ud800", "tw_live_" + "é" * 30])
def test_only_keys_are_described(secret: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        describe(secret)
