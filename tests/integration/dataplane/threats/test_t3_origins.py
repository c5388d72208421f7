"""T3: an application behind the gateway sees one identity, ours, however its server hands headers over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.model.principal import Mode, Principal
from tests.integration.dataplane.conftest import MakeProxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import statuses
from tests.integration.dataplane.threats.origins.serving import ORIGINS

OURS = {"tollway-account": "acct_true", "tollway-tier": "team", "tollway-key-id": "key_true"}
PRINCIPAL = Principal(
    1, "acct_true", 1, "key_true", "team", Mode.LIVE,
    "".join(f"{name.title()}: {value}\r\n" for name, value in OURS.items()).encode(),
)  # fmt: skip
NAMES = [name.encode() for name in OURS]
VALUES = [b"evil", b"", b"\xff\xfe", b"acct_true, evil", b'"evil"', b"=?utf-8?q?evil?="]


def spellings(name: bytes) -> list[bytes]:
    """How a caller might write a name that the application would take for ours."""
    odd = bytes(one - 32 if at % 2 and chr(one).islower() else one for at, one in enumerate(name))
    separated = [name.replace(b"-", other, 1) for other in (b"_", b".", b"+", b"~", b"!", b"'", b"--")]
    names = [name, name.title(), name.upper(), odd, *separated, *(one.upper() for one in separated)]
    around = [name + b" ", name + b"\t", b" " + name, name + b"\0", b"\xef\xbb\xbf" + name, b"HTTP_" + name]
    return names + around


def spoofs() -> list[bytes]:
    """Header lines, each a try to be somebody else."""
    tries = [
        b"%b: %b\r\n" % (spelling, value)
        for name in NAMES
        for spelling in spellings(name)
        for value in VALUES[:2]
    ]
    tries += [b"%b: %b\r\n" % (name, value) * 2 for name in NAMES for value in VALUES]
    tries += [b"Connection: %b\r\n%b: evil\r\n" % (name, name) for name in NAMES]
    tries += [b"Connection: keep-alive, Tollway-Account, tollway-tier ,TOLLWAY-KEY-ID\r\n"]
    tries += [b"X-A: 1\r\n %b: evil\r\n" % name for name in NAMES]
    tries += [b"X-A: 1\n%b: evil\r\n" % name for name in NAMES]
    tries += [b"X-A: 1\r%b: evil\r\n" % name for name in NAMES]
    trailer = b"Transfer-Encoding: chunked\r\nTrailer: %b\r\n\r\n0\r\n%b: evil\r\n"
    return tries + [trailer % (name, name) for name in NAMES]  # fmt: skip


@pytest.mark.parametrize("origin", ORIGINS)
async def test_exactly_one_identity_and_it_is_ours(
    origin: str, make_proxy: MakeProxy, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    passed = 0
    async with ORIGINS[origin](tmp_path) as upstream.port:
        proxy = await make_proxy(is_watched=False, principal=PRINCIPAL)
        for lines in spoofs():
            call = b"GET /free HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n"
            answer = await proxy.exchange(call)
            assert statuses(answer) in ([200], [400]), lines
            if statuses(answer) == [400]:
                continue
            passed += 1
            start, end = answer.index(b'{"'), answer.rindex(b"}") + 1
            seen = json.loads(answer[start:end].replace(b"\n", b""))["fields"]
            for name, value in OURS.items():
                assert [found for other, found in seen if other == name] == [value], lines
        await proxy.drain(0)
    assert passed > 60
