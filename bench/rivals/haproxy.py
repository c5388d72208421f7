"""HAProxy: the key's SHA-256 looked up in a map, the rate kept in a stick table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from bench.candidate import CALLS_PER_S, KEY, Candidate, Missing
from bench.processes import Place, server

_CONFIG = """global
    nbthread 1
    no strict-limits
    maxconn 12000
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    timeout tunnel 600s
frontend public
    bind 127.0.0.1:{port} backlog 1024
    http-request set-var(txn.account) req.hdr(x-api-key),sha2(256),hex,map({keys})
    http-request deny deny_status 401 unless {{ var(txn.account) -m found }}
    http-request track-sc0 var(txn.account) table limits
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {calls} }}
    http-request del-header x-api-key
    use_backend streams if {{ path_beg /streams/ }}
    default_backend origin
backend limits
    stick-table type string len 32 size 100k expire 10s store http_req_rate(1s)
backend origin
    server origin 127.0.0.1:{upstream} pool-max-conn 128
backend streams
    server streams 127.0.0.1:{streams}
"""


@contextmanager
def haproxy(place: Place, port: int) -> Iterator[Candidate]:
    """One thread."""
    if shutil.which("haproxy") is None:
        raise Missing("apt-get install haproxy")
    keys, config = place.folder / "haproxy.map", place.folder / "haproxy.cfg"
    keys.write_text(f"{sha256(KEY.encode()).hexdigest().upper()} acct_1\n")
    text = _CONFIG.format(
        port=port, keys=keys, calls=CALLS_PER_S, upstream=place.upstream, streams=place.streams
    )
    config.write_text(text)
    with server(place.folder, "haproxy", ["haproxy", "-q", "-db", "-f", str(config)], port) as process:
        yield Candidate("HAProxy", port, (process.pid,), "SHA-256 of the key; one rate in a stick table")
