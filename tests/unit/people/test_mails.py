"""What the mails say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.people import mails
from gateway.people.delivery import compose
from gateway.people.outbox import retry_delay_s
from gateway.people.records import Invitation, Mail

PORTAL = "https://portal.example"
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_links_stand_alone_on_a_line() -> None:
    text = mails.reset("a@example.com", PORTAL, "tollway_reset_1").text
    assert "\n    https://portal.example/reset?token=tollway_reset_1\n" in text
    assert max(map(len, text.splitlines())) <= 78


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Acme Inc.", 'the account "Acme Inc."'),
        ("", "an account"),
        ("win.example", "an account"),
        ("https://evil", "an account"),
        ("call me@home", "an account"),
        ("x" * 61, "an account"),
    ],
)
def test_names_that_strangers_chose_advertise_nothing(name: str, shown: str) -> None:
    invited = Invitation(1, "invitation_1", 1, "acct_1", name, "a@example.com", "member", NOW, NOW)
    assert shown in mails.invitation(invited, PORTAL, "t").text.replace("\n", " ")


def test_a_mail_as_it_is_sent() -> None:
    message = compose("mail_1", Mail("a@example.com", "Hello", "Grüße\n"), "Tollway <no-reply@example.com>")
    assert message["Message-ID"] == "<mail_1@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content() == "Grüße\n"
    assert b"To: a@example.com\r\n" in bytes(message)


def test_no_line_of_the_head_can_be_added() -> None:
    for mail in (
        Mail("a@example.com\r\nBcc: b@example.com", "s", ""),
        Mail("a@example.com", "s\nBcc: b@c.d", ""),
    ):
        with pytest.raises(ValueError):
            compose("mail_1", mail, "a@example.com")


def test_tries_are_put_off_longer_and_longer() -> None:
    assert [retry_delay_s(attempts) for attempts in (0, 1, 2, 8, 9, 100)] == [10, 20, 40, 2560, 3600, 3600]
