"""The two upstreams everybody stands in front of: an nginx that answers at once, and `bench.streams`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.processes import server
from bench.rivals.nginx import nginx_command

BODY = '{"projects":[{"id":"prj_1","name":"api"},{"id":"prj_2","name":"docs"}],"more":false}'  # 84 bytes
HEADER_COUNT = 10  # of an answer: nginx's own five and five of ours

_UPSTREAM = """    default_type application/json;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        add_header Cache-Control "private, max-age=0";
        add_header ETag '"33a64df551425fcc"';
        add_header Vary Accept-Encoding;
        add_header X-Content-Type-Options nosniff;
        add_header X-Request-Cost 1;
        location / {{ return 200 '{body}'; }}
    }}"""


@contextmanager
def upstreams(folder: Path, port: int, streams: int) -> Iterator[None]:
    """Both, running."""
    http = _UPSTREAM.format(port=port, body=BODY)
    with ExitStack() as stack:
        stack.enter_context(server(folder, "upstream", nginx_command(folder, "upstream", http), port))
        command = [sys.executable, "-m", "bench.streams", str(streams)]
        stack.enter_context(server(folder, "streams", command, streams))
        yield
