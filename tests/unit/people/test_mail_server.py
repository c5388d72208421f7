"""Where mails are handed over, as operators write it."""

from __future__ import annotations

import pytest

from gateway.people.mail_server import MailServer


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example", MailServer("mail.example", 587, encrypted=False)),
        ("smtps://mail.example/", MailServer("mail.example", 465, encrypted=True)),
        ("smtp://127.0.0.1:1025?tls=no", MailServer("127.0.0.1", 1025, encrypted=False, plain=True)),
        (
            "smtp://me%40example.com:p%2Fw@mail.example:2525",
            MailServer("mail.example", 2525, encrypted=False, user="me@example.com", password="p/w"),
        ),
    ],
)
def test_mail_servers(url: str, server: MailServer) -> None:
    assert MailServer.parse(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example",
        "http://mail.example",
        "smtp://",
        "smtp://mail.example:port",
        "smtp://user:secret@mail.example/path",
        "smtp://user:secret#@mail.example",
        "smtps://user:secret@mail.example?tls=no",
        "smtp://user:secret@mail.example?tls=yes",
    ],
)
def test_what_names_no_mail_server(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        MailServer.parse(url)
    assert "secret" not in str(refused.value).replace("password", "")


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(MailServer.parse("smtp://user:secret@mail.example"))
