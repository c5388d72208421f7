"""nginx twice: as the upstream everybody calls, and as the proxy everybody is compared with."""

from __future__ import annotations

from pathlib import Path

BODY = '{"projects":[{"id":"prj_1","name":"api"},{"id":"prj_2","name":"docs"}],"more":false}'  # 84 bytes
HEADER_COUNT = 10  # of an answer: nginx's own five and five of ours

_FRAME = """daemon off;
master_process off;
pid {name}.pid;
error_log {name}.log warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {name}-body;
    proxy_temp_path {name}-proxy;
    fastcgi_temp_path {name}-fastcgi;
    uwsgi_temp_path {name}-uwsgi;
    scgi_temp_path {name}-scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    tcp_nodelay on;
{http}
}}
"""

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

_PROXY = """    upstream origin {{
        server 127.0.0.1:{upstream};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}"""


def upstream_command(folder: Path, port: int) -> list[str]:
    """The command of an upstream that answers everything at once, with a body of 84 bytes."""
    return _command(folder, "upstream", _UPSTREAM.format(port=port, body=BODY))


def proxy_command(folder: Path, port: int, upstream: int) -> list[str]:
    """The command of a plain proxy with keep-alive on both sides, one process."""
    return _command(folder, "proxy", _PROXY.format(port=port, upstream=upstream))


def _command(folder: Path, name: str, http: str) -> list[str]:
    config = folder / f"{name}.conf"
    config.write_text(_FRAME.format(name=name, http=http))
    return ["nginx", "-p", f"{folder}/", "-e", f"{name}.log", "-c", str(config)]
