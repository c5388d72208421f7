"""Mails leave the database once each, sooner or later."""

from __future__ import annotations

import asyncio
import socket
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.people.delivery import by_smtp, into_files
from gateway.people.mail_server import MailServer
from gateway.people.outbox import Outbox, Undelivered
from gateway.people.records import Mail
from gateway.people.vault import Vault
from gateway.storage.postgres import Pool, connect_pool

MAIL = Mail("ada@example.com", "Hello", "the token is tollway_reset_1\n")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = await connect_pool(database_url)
    yield made
    made.terminate()


@pytest.fixture
def outbox(pool: Pool) -> Outbox:
    return Outbox(Vault(pool))


class Postman:
    """Takes mails, or fails as he is told."""

    def __init__(self, *failures: Undelivered) -> None:
        self.failures = list(failures)
        self.taken: list[tuple[str, Mail]] = []

    async def deliver(self, public_id: str, mail: Mail) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append((public_id, mail))


async def put(pool: Pool, outbox: Outbox, mail: Mail = MAIL) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await outbox.put(connection, mail)


async def test_a_mail_is_sent_once_and_its_text_is_gone(pool: Pool, outbox: Outbox) -> None:
    await put(pool, outbox)
    postman = Postman()
    assert await outbox.send_due(pool, postman.deliver) == 1
    assert await outbox.send_due(pool, postman.deliver) == 0
    assert [mail for _, mail in postman.taken] == [MAIL]
    row = await pool.fetchrow("SELECT sealed, sent_at IS NOT NULL AS sent, attempts FROM mail_outbox")
    assert row is not None
    assert (row["sealed"], row["sent"], row["attempts"]) == (None, True, 1)


async def test_what_was_undone_is_not_sent(pool: Pool, outbox: Outbox) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await outbox.put(connection, MAIL)
        await transaction.rollback()
    assert await outbox.send_due(pool, Postman().deliver) == 0


async def test_a_mail_that_fails_is_tried_again_later_under_the_same_id(pool: Pool, outbox: Outbox) -> None:
    await put(pool, outbox)
    seen: list[str] = []
    postman = Postman(Undelivered("no"))

    async def deliver(public_id: str, mail: Mail) -> None:
        seen.append(public_id)
        await postman.deliver(public_id, mail)

    assert await outbox.send_due(pool, deliver) == 1
    assert await outbox.send_due(pool, deliver) == 0, "not yet"
    await pool.execute("UPDATE mail_outbox SET next_try_at = now()")
    assert await outbox.send_due(pool, deliver) == 1
    assert len(seen) == 2
    assert len(set(seen)) == 1
    assert len(postman.taken) == 1


@pytest.mark.parametrize(("case", "age"), [("refused for good", "0 s"), ("a day of failures", "25 hours")])
async def test_a_mail_that_can_not_be_sent_is_given_up(
    pool: Pool, outbox: Outbox, case: str, age: str, caplog: pytest.LogCaptureFixture
) -> None:
    await put(pool, outbox)
    await pool.execute(f"UPDATE mail_outbox SET created_at = now() - interval '{age}'")
    postman = Postman(Undelivered("the recipient was refused", refused=case == "refused for good"))
    await outbox.send_due(pool, postman.deliver)
    row = await pool.fetchrow("SELECT sealed, failed_at IS NOT NULL AS failed FROM mail_outbox")
    assert row is not None
    assert (row["sealed"], row["failed"]) == (None, True)
    assert "mail given up" in caplog.text
    assert "tollway_reset_1" not in caplog.text


async def test_a_mail_sealed_with_another_secret_is_given_up(pool: Pool) -> None:
    await put(pool, Outbox(Vault(pool, "a" * 32)))
    postman = Postman()
    await Outbox(Vault(pool, "b" * 32)).send_due(pool, postman.deliver)
    assert postman.taken == []
    assert await pool.fetchval("SELECT failed_at IS NOT NULL FROM mail_outbox")


async def test_of_several_gateways_one_sends(pool: Pool, outbox: Outbox) -> None:
    await put(pool, outbox)
    at_it, go_on = asyncio.Event(), asyncio.Event()
    postman = Postman()

    async def slowly(public_id: str, mail: Mail) -> None:
        at_it.set()
        await go_on.wait()
        await postman.deliver(public_id, mail)

    first = asyncio.ensure_future(outbox.send_due(pool, slowly))
    await at_it.wait()
    assert await Outbox(Vault(pool)).send_due(pool, postman.deliver) == 0
    go_on.set()
    await first
    assert len(postman.taken) == 1
    await put(pool, outbox)
    assert await Outbox(Vault(pool)).send_due(pool, postman.deliver) == 1


async def test_the_sender_wakes_for_what_is_put(pool: Pool, outbox: Outbox) -> None:
    postman, sent = Postman(), asyncio.Event()

    async def deliver(public_id: str, mail: Mail) -> None:
        await postman.deliver(public_id, mail)
        sent.set()

    sending = asyncio.ensure_future(outbox.send_forever(pool, deliver))
    await put(pool, outbox)
    outbox.wake()
    await asyncio.wait_for(sent.wait(), 30)
    sending.cancel()
    assert [mail for _, mail in postman.taken] == [MAIL]


async def test_two_gateways_share_the_secret_that_was_made_first(pool: Pool) -> None:
    keys = await asyncio.gather(*(Vault(pool).signing_key() for _ in range(4)))
    assert len(set(keys)) == 1
    assert await Vault(pool, "a" * 32).signing_key() not in keys


async def test_files_are_for_their_owner_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        await into_files(tmp_path / "mail", "tollway@localhost")("mail_1", MAIL)
    (file,) = (tmp_path / "mail").iterdir()
    assert file.name == "mail_1.eml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "tollway_reset_1" in file.read_text()
    assert "mail written to a file" in caplog.text
    assert "tollway_reset_1" not in caplog.text


async def test_a_folder_that_can_not_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("a file")
    with pytest.raises(Undelivered, match="can not be written") as failed:
        await into_files(tmp_path / "mail", "tollway@localhost")("mail_1", MAIL)
    assert not failed.value.refused


class Server:
    """A mail server for one conversation after another; `refuse` answers RCPT."""

    def __init__(self, refuse: bytes = b"") -> None:
        self._refuse = refuse
        self.said = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb", buffering=0) as stream:
                self._talk(stream)

    def _talk(self, stream: socket.SocketIO) -> None:
        stream.write(b"220 here\r\n")
        while line := stream.readline():
            self.said += line
            command = line[:4].upper()
            if command == b"DATA":
                stream.write(b"354 go on\r\n")
                while (line := stream.readline()) != b".\r\n":
                    self.said += line
            elif command == b"RCPT" and self._refuse:
                stream.write(self._refuse)
                continue
            stream.write(b"221 bye\r\n" if command == b"QUIT" else b"250 fine\r\n")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.listener.close()


async def test_a_mail_goes_to_the_mail_server(server: Server) -> None:
    where = MailServer("127.0.0.1", server.port, encrypted=False, plain=True)
    await by_smtp(where, "tollway@example.com")("mail_1", MAIL)
    assert b"mail from:<tollway@example.com>" in server.said.lower()
    assert b"rcpt to:<ada@example.com>" in server.said.lower()
    assert b"Message-ID: <mail_1@example.com>" in server.said
    assert b"tollway_reset_1" in server.said


@pytest.mark.parametrize(
    ("answer", "refused"), [(b"450 try later\r\n", False), (b"550 nobody of that name\r\n", True)]
)
async def test_a_recipient_that_is_refused(answer: bytes, refused: bool) -> None:
    server = Server(answer)
    where = MailServer("127.0.0.1", server.port, encrypted=False, plain=True)
    with pytest.raises(Undelivered) as failed:
        await by_smtp(where, "tollway@example.com")("mail_1", MAIL)
    assert failed.value.refused is refused
    assert "nobody of that name" not in str(failed.value)
    server.listener.close()


async def test_a_server_without_tls_gets_neither_password_nor_mail(server: Server) -> None:
    where = MailServer("127.0.0.1", server.port, encrypted=False, user="me", password="secret")
    with pytest.raises(Undelivered, match="can not be used: SMTPNotSupportedError"):
        await by_smtp(where, "tollway@example.com")("mail_1", MAIL)
    assert b"secret" not in server.said
    assert b"tollway_reset_1" not in server.said


async def test_no_mail_server_at_all() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = MailServer("127.0.0.1", probe.getsockname()[1], encrypted=True)
        with pytest.raises(Undelivered, match="ConnectionRefusedError"):
            await by_smtp(where, "tollway@example.com")("mail_1", MAIL)
