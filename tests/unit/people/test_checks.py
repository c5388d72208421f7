"""What people may call themselves, and which passwords they may take."""

from __future__ import annotations

import pytest

from gateway.errors import Invalid
from gateway.people import checks

EMAIL = "ada.lovelace@example.com"


@pytest.mark.parametrize(
    "email",
    [
        "a@example.com",
        "a.b+c@mail.example.co.uk",
        "o'neil@example.com",
        "x@xn--bcher-kva.example",
        f"{'a' * 64}@example.com",
    ],
)
def test_mail_addresses(email: str) -> None:
    assert checks.check_email(email) == email


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "@",
        "a@",
        "@example.com",
        "a@example",
        "a@@example.com",
        "a@b@example.com",
        "a b@example.com",
        '"a b"@example.com',
        "a@example.com\n",
        "a@example.com\r\nBcc: b@example.com",
        "a@example.com,b@example.com",
        "a@example.com;b@example.com",
        "<a@example.com>",
        "a@[127.0.0.1]",
        ".a@example.com",
        "a..b@example.com",
        "a@-example.com",
        "a@example..com",
        "ä@example.com",
        "a@exämple.com",
        "a\0@example.com",
        f"{'a' * 65}@example.com",
        f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.{'f' * 60}.com",
    ],
)
def test_what_is_no_mail_address(email: str) -> None:
    with pytest.raises(Invalid, match="must be a mail address"):
        checks.check_email(email)


@pytest.mark.parametrize(
    "password",
    ["three mild words", "Tr0ub4dor&3", "päßwörter sind das", "🐎🔋📎 staple!", " " * 3 + "a b c d e"],
)
def test_passwords(password: str) -> None:
    assert checks.check_password(password, EMAIL) == password


@pytest.mark.parametrize(
    ("case", "password"),
    [
        ("short", "ab1!cd2?"),
        ("endless", "ab1!" * 300),
        ("common", "1234567890"),
        ("common in another case", "QwertyUiop"),
        ("common with the usual ending", "Password2026!"),
        ("common with the usual beginning", "123Password"),
        ("one character", "aaaaaaaaaaaa"),
        ("three characters", "abcabcabcabc"),
        ("the address", "ADA.lovelace@example.com"),
        ("what is before the at", "ada.lovelace"),
    ],
)
def test_what_is_no_password(case: str, password: str) -> None:
    with pytest.raises(Invalid, match="password: ") as refused:
        checks.check_password(password, EMAIL)
    assert password not in str(refused.value), case


def test_names_are_trimmed_and_never_break_a_line() -> None:
    assert checks.check_name(" Ada ") == "Ada"
    assert checks.check_name("") == ""
    for name in ("a\nb", "a\r", "\0", "\x85", "\u2028", "\ud800", "a" * 201):
        with pytest.raises(Invalid, match="account_name"):
            checks.check_name(name, "account_name")


def test_the_list_of_common_passwords_is_folded() -> None:
    assert all(one == one.casefold() for one in checks._COMMON)
