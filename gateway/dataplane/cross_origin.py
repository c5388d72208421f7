"""What browsers need to read an answer, refusals included, on a route with CORS."""

from __future__ import annotations

import re

from gateway.model.cors import Cors
from gateway.model.exchange import RequestHead

_UPSTREAMS = re.compile(rb"^access-control-[^:\r\n]*:[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)


def with_cors(lines: list[bytes], head: RequestHead, cors: Cors) -> list[bytes]:
    """The lines of an answer with what the policies say about other origins, and nothing that others say."""
    return [_UPSTREAMS.sub(b"", b"".join(lines)), cors.of_answer(head.field(b"origin"))]
