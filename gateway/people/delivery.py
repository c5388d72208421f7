"""How mails leave: by SMTP, or into files where no mail server is set."""

from __future__ import annotations

import asyncio
import logging
import os
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path

from gateway.people.mail_server import MailServer
from gateway.people.outbox import Deliver, Undelivered
from gateway.people.records import Mail

log = logging.getLogger("tollway.mail")

TIMEOUT_S = 30.0


def compose(public_id: str, mail: Mail, sender: str) -> EmailMessage:
    """The message. Its id stays the same when it is sent again."""
    message = EmailMessage(SMTP)
    message["From"] = sender
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{public_id}@{sender.rpartition('@')[2].rstrip('>')}>"
    message["Auto-Submitted"] = "auto-generated"  # nobody's holiday answers (RFC 3834)
    # As it is, where that is possible: a link that is broken into lines is not one.
    message.set_content(mail.text, cte="7bit" if mail.text.isascii() else None)
    return message


def by_smtp(server: MailServer, sender: str) -> Deliver:
    """Hands mails to a mail server, one connection each, in a thread."""

    async def deliver(public_id: str, mail: Mail) -> None:
        await asyncio.to_thread(_hand_over, server, compose(public_id, mail, sender))

    return deliver


def _hand_over(server: MailServer, message: EmailMessage) -> None:
    try:
        with _connect(server) as connection:
            if not server.encrypted and not server.plain:
                connection.starttls(context=ssl.create_default_context())
            if server.user:
                connection.login(server.user, server.password)
            connection.send_message(message)
    except smtplib.SMTPRecipientsRefused as refused:
        codes = [code for code, _ in refused.recipients.values()]
        raise Undelivered(f"the recipient was refused with {codes}", refused=min(codes) >= 500) from None
    except smtplib.SMTPResponseException as error:
        # What the server says may repeat the mail: only the number is kept.
        raise Undelivered(f"the mail server answered {error.smtp_code} ({type(error).__name__})") from None
    except (smtplib.SMTPException, OSError) as error:
        raise Undelivered(f"the mail server can not be used: {type(error).__name__}") from None


def _connect(server: MailServer) -> smtplib.SMTP:
    if server.encrypted:
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=context)
    return smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)


def into_files(folder: Path, sender: str) -> Deliver:
    """Writes each mail into a file of its own that only its owner reads."""

    def write(public_id: str, mail: Mail) -> None:
        path = folder / f"{public_id}.eml"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_suffix(".new")
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(bytes(compose(public_id, mail, sender)))
            draft.replace(path)
        except OSError as error:
            raise Undelivered(f"the folder for mails can not be written: {error.strerror}") from None
        log.info("mail written to a file, as no mail server is set", extra={"file": str(path)})

    async def deliver(public_id: str, mail: Mail) -> None:
        await asyncio.to_thread(write, public_id, mail)

    return deliver
