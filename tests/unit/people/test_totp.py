"""Codes as in the appendices of RFC 4226 and RFC 6238."""

from __future__ import annotations

import pytest

from gateway.people import totp

SECRET = b"12345678901234567890"
STEP = 37_037_036  # the step of second 1111111109


@pytest.mark.parametrize(
    ("at_s", "code"),
    [
        (59, "287082"),
        (1_111_111_109, "081804"),
        (1_111_111_111, "050471"),
        (1_234_567_890, "005924"),
        (2_000_000_000, "279037"),
        (20_000_000_000, "353130"),
    ],
)
def test_the_codes_of_the_rfc(at_s: int, code: str) -> None:
    assert totp.code_at(SECRET, at_s // totp.STEP_S) == code


@pytest.mark.parametrize(
    ("case", "code", "used_step", "step"),
    [
        ("now", totp.code_at(SECRET, STEP), 0, STEP),
        ("typed with a space", f"{totp.code_at(SECRET, STEP)[:3]} {totp.code_at(SECRET, STEP)[3:]}", 0, STEP),
        ("a clock that is behind", totp.code_at(SECRET, STEP - 1), 0, STEP - 1),
        ("a clock that is ahead", totp.code_at(SECRET, STEP + 1), 0, STEP + 1),
        ("two steps old", totp.code_at(SECRET, STEP - 2), 0, None),
        ("used before", totp.code_at(SECRET, STEP), STEP, None),
        ("older than the one used", totp.code_at(SECRET, STEP - 1), STEP, None),
        ("wrong", "000000", 0, None),
        ("nothing", "", 0, None),
        ("too long", "0818041", 0, None),
        ("digits of another script", "٠٨١٨٠٤", 0, None),
    ],
)
def test_a_code_works_for_its_step_and_its_neighbours_once(
    case: str, code: str, used_step: int, step: int | None
) -> None:
    assert totp.step_of(SECRET, code, STEP * totp.STEP_S + 29, used_step) == step, case


def test_the_secret_as_apps_read_it() -> None:
    assert totp.spelled(SECRET) == "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert totp.uri(SECRET, "a+b@example.com", "Tollway") == (
        "otpauth://totp/Tollway:a%2Bb@example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Tollway"
    )


def test_recovery_codes_are_read_however_they_are_typed() -> None:
    codes = totp.new_recovery_codes()
    assert len(set(codes)) == totp.RECOVERY_CODES
    for code in codes:
        assert totp.recovery_digest(code) == totp.recovery_digest(f" {code.replace('-', '').upper()} ")
    assert totp.recovery_digest("081804") is None
    assert totp.recovery_digest("abcd-efgh-ijkl-mnop-qrst") is None
