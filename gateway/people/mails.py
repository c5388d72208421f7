"""What the mails say."""

from __future__ import annotations

import re
from textwrap import fill

from gateway.people.records import Invitation, Mail

_LIKE_A_LINK = re.compile(r"/|\S\.\S|@")
_NAME_SHOWN_MAX = 60


def verification(email: str, portal: str, token: str) -> Mail:
    """To somebody who wants to register."""
    return _mail(
        email,
        "Confirm your mail address",
        "somebody, probably you, registered with this mail address. To confirm it, open",
        f"{portal}/verify?token={token}",
        "within a day. If it was not you, do nothing: without this link nothing happens.",
    )


def known_already(email: str, portal: str) -> Mail:
    """To somebody who is registered, when somebody registers with their address again."""
    return _mail(
        email,
        "You are registered already",
        "somebody, probably you, wanted to register with this mail address. You are registered already: "
        "just log in. If you forgot your password, ask for another one at",
        f"{portal}/forgot",
        "If it was not you, do nothing: nothing has changed.",
    )


def reset(email: str, portal: str, token: str) -> Mail:
    """To somebody who forgot the password."""
    return _mail(
        email,
        "Set another password",
        "somebody, probably you, asked for another password. To set one, open",
        f"{portal}/reset?token={token}",
        "within an hour. If it was not you, do nothing: your password stays.",
    )


def password_changed(email: str, portal: str) -> Mail:
    """To somebody whose password has been changed."""
    return _mail(
        email,
        "Your password was changed",
        "your password was changed, and all other sessions were ended. If it was not you, ask for another "
        "password right now at",
        f"{portal}/forgot",
        "and tell whoever runs this service.",
    )


def invitation(invited: Invitation, portal: str, token: str) -> Mail:
    """To somebody who may become a member of an account."""
    return _mail(
        invited.email,
        "You are invited",
        f"you are invited to {_shown(invited.account_name)}, as {invited.role}. To accept, open",
        f"{portal}/join?token={token}",
        "within a week. If you do not know what this is about, do nothing.",
    )


def _shown(name: str) -> str:
    """The account, by its name unless that could be an advertisement: strangers choose it."""
    if not name or len(name) > _NAME_SHOWN_MAX or _LIKE_A_LINK.search(name):
        return "an account"
    return f'the account "{name}"'


def _mail(email: str, subject: str, before: str, link: str, after: str) -> Mail:
    parts = ["Hello,", fill(before, 72), f"    {link}", fill(after, 72)]
    return Mail(email, subject, "\n\n".join(parts) + "\n")
