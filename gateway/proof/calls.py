"""The kinds of calls a proof makes, and what its callers note of each."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from gateway.proof.wire import Answer, Cut, Line, websocket_key
from gateway.proof.world import WORK, wanted

HOST = "proof.test"


@dataclass(slots=True)
class Note:
    """What a caller knows of its call."""

    number: int
    kind: str
    account: str
    key: str  # public id; empty: it has none that is known
    request_id: str = ""
    status: int = 0
    code: str = ""  # of a problem document
    whole: bool = False  # all of the answer, or of the conversation, has come
    left: bool = False  # the caller hung up by itself
    sent_bytes: int = 0
    got_bytes: int = 0
    messages: int = 0  # sent and received back
    wrong: str = ""  # something came that must not come
    began_s: float = 0.0  # by the caller's clock, which never steps
    done_s: float = 0.0


Kind = Callable[[Line, Note, dict[str, str], random.Random], Awaitable[None]]


def noted(note: Note, answer: Answer) -> None:
    """What the answer says, as far as it has come."""
    note.request_id, note.status, note.whole = answer.request_id, answer.status, answer.whole
    note.got_bytes = len(answer.body)
    if answer.headers.get("content-type", "").startswith("application/problem+json") and answer.whole:
        note.code = str(json.loads(bytes(answer.body)).get("code", ""))
    if answer.status == 200 and note.kind != "breaks":
        ours = wanted(note.number, note.kind)
        note.wrong = "" if ours.startswith(answer.body) else "bytes of another answer came"
    if WORK.lower() in answer.headers:
        note.wrong = f"{WORK} came, which is meant for the gateway alone"


async def _get(
    line: Line, note: Note, headers: dict[str, str], path: str, enough: Callable[[Answer], bool] | None = None
) -> None:
    answer = Answer()
    try:
        await line.send("GET", path, headers)
        await line.read(answer, enough or (lambda _: False))
    finally:
        noted(note, answer)
    if enough is not None and not note.whole:
        note.left = True
        line.drop()


async def _short(line: Line, note: Note, headers: dict[str, str], _: random.Random) -> None:
    await _get(line, note, headers, f"/{note.kind}/{note.number}")


async def _slow(line: Line, note: Note, headers: dict[str, str], chance: random.Random) -> None:
    await _get(line, note, headers, f"/slow/{note.number}?s={chance.uniform(0.05, 2.0):.2f}")


async def _leave_early(line: Line, note: Note, headers: dict[str, str], chance: random.Random) -> None:
    """Hangs up before the answer has begun, mostly."""
    note.kind, note.left = "slow", True
    await line.send("GET", f"/slow/{note.number}?s=1", headers)
    await asyncio.sleep(chance.uniform(0.0, 0.3))
    line.drop()


async def _leave_midway(line: Line, note: Note, headers: dict[str, str], _: random.Random) -> None:
    note.kind = "stream"
    await _get(line, note, headers, f"/stream/{note.number}", lambda answer: len(answer.body) > 200)


async def _upload(line: Line, note: Note, headers: dict[str, str], chance: random.Random) -> None:
    body = bytes(chance.randrange(1, 40_000))
    await line.send("POST", f"/upload/{note.number}", headers | {"Content-Length": str(len(body))}, body)
    await _answered_upload(line, note, len(body))


async def _upload_in_pieces(line: Line, note: Note, headers: dict[str, str], chance: random.Random) -> None:
    note.kind = "upload"
    sizes = [chance.randrange(1, 5_000) for _ in range(chance.randrange(1, 6))]
    await line.send("POST", f"/upload/{note.number}", headers | {"Transfer-Encoding": "chunked"})
    for size in sizes:
        await asyncio.sleep(0.01)
        await line.send_more(b"%x\r\n" % size + bytes(size) + b"\r\n")
    await line.send_more(b"0\r\n\r\n")
    await _answered_upload(line, note, sum(sizes))


async def _answered_upload(line: Line, note: Note, sent: int) -> None:
    answer = Answer()
    try:
        await line.read(answer)
    finally:
        noted(note, answer)
    note.sent_bytes = sent


async def _leave_upload(line: Line, note: Note, headers: dict[str, str], _: random.Random) -> None:
    note.kind, note.left = "upload", True
    await line.send("POST", f"/upload/{note.number}", headers | {"Content-Length": "5000"}, bytes(100))
    await asyncio.sleep(0.05)
    line.drop()


async def _socket(line: Line, note: Note, headers: dict[str, str], chance: random.Random) -> None:
    answer = Answer()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    upgrade |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": websocket_key()}
    try:
        await line.send("GET", f"/socket/{note.number}", headers | upgrade)
        await line.read(answer)
    finally:
        noted(note, answer)
    if note.status != 101:
        return
    for message in range(chance.randrange(1, 20)):
        text = b"%d.%d" % (note.number, message)
        if await line.say(text) != text:
            note.wrong = "another message came back"
        note.messages += 1
        await asyncio.sleep(chance.uniform(0.0, 0.3))
    if chance.random() < 0.3:
        note.left = True
        line.drop()
    else:
        await line.say_goodbye()
        note.whole = True


async def _stranger(line: Line, note: Note, headers: dict[str, str], _: random.Random) -> None:
    note.kind, note.key = "short", ""
    await _get(line, note, headers | {"X-API-Key": "tw_live_nobodys"}, f"/short/{note.number}")


async def _nowhere(line: Line, note: Note, headers: dict[str, str], _: random.Random) -> None:
    await _get(line, note, headers, f"/nowhere/{note.number}")


async def _malformed(line: Line, note: Note, headers: dict[str, str], _: random.Random) -> None:
    await _get(line, note, headers | {"host": "another.test"}, f"/short/{note.number}")


KINDS: dict[str, tuple[int, Kind]] = {
    "short": (50, _short),
    "paid": (6, _short),
    "slow": (6, _slow),
    "stream": (8, _short),
    "upload": (8, _upload),
    "upload in pieces": (4, _upload_in_pieces),
    "socket": (5, _socket),
    "fails": (5, _short),
    "breaks": (2, _short),
    "stranger": (3, _stranger),
    "nowhere": (2, _nowhere),
    "malformed": (1, _malformed),
    "left early": (3, _leave_early),
    "left midway": (2, _leave_midway),
    "left upload": (2, _leave_upload),
}
"""By name: how often, and how it goes."""


async def make(line: Line, note: Note, secret: str, chance: random.Random) -> None:
    """Make one call and note how it went. Never raises what a gateway can bring about."""
    headers = {"Host": HOST, "X-API-Key": quote(secret), "User-Agent": "proof"}
    how = KINDS[note.kind][1]
    note.began_s = time.monotonic()
    try:
        await how(line, note, headers, chance)
    except (Cut, TimeoutError):
        line.drop()
    note.done_s = time.monotonic()
