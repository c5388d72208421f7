"""nginx: plain, which everybody is compared with, and with Lua that checks keys and counts calls."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path

from bench.candidate import KEY, Candidate, Missing
from bench.machine import listeners_below
from bench.processes import Place, server
from gateway.storage.embedded.redis import find_redis

LUA = Path(__file__).parent.parent / "lua"
MODULES = Path("/usr/lib/nginx/modules")  # where Debian puts them
INSTALL_LUA = "apt-get install libnginx-mod-http-lua"
RESTY_REDIS = Path("/usr/share/lua/5.1/nginx/redis.lua")
INSTALL_RESTY_REDIS = "apt-get install lua-nginx-redis"

_FRAME = """{modules}
daemon off;
master_process {master};
worker_processes {workers};
pid {name}.pid;
error_log {name}.log warn;
env BENCH_KEY;
events {{ worker_connections 20000; }}
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

# Streams: upgrades pass, bodies are not written to disk. All other sizes are nginx's own.
_PROXY = """    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    upstream origin {{
        server 127.0.0.1:{upstream};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    map $http_upgrade $to_streams {{ default upgrade; "" ""; }}
    {lua}
    server {{
        listen 127.0.0.1:{port} backlog=1024 {reuseport};
        proxy_http_version 1.1;
        {access}
        location / {{
            proxy_pass http://origin;
            proxy_set_header Connection "";
        }}
        location /streams/ {{
            proxy_pass http://127.0.0.1:{streams};
            proxy_set_header Connection $to_streams;
            proxy_set_header Upgrade $http_upgrade;
        }}
    }}"""

_LUA = """lua_package_path "{folder}/?.lua;/usr/share/lua/5.1/?.lua;;";
    lua_shared_dict counters 1m;
    init_by_lua_block {{ require "keys" }}"""


def nginx_command(folder: Path, name: str, http: str, *, workers: int = 1, modules: str = "") -> list[str]:
    """The command of an nginx with this `http` block; its files are below `folder`."""
    config = folder / f"{name}.conf"
    master = "on" if workers > 1 else "off"
    config.write_text(_FRAME.format(name=name, http=http, master=master, workers=workers, modules=modules))
    return ["nginx", "-p", f"{folder}/", "-e", f"{name}.log", "-c", str(config)]


@contextmanager
def plain(place: Place, port: int, workers: int = 1) -> Iterator[Candidate]:
    """A proxy with keep-alive on both sides."""
    name = f"nginx-{workers}"
    http = _proxy(place, port, reuseport="reuseport" if workers > 1 else "")
    command = nginx_command(place.folder, name, http, workers=workers)
    with server(place.folder, name, command, port) as process:
        pids = listeners_below(process.pid, port) if workers > 1 else (process.pid,)
        title = "nginx, plain proxy" + (f", {workers} workers" if workers > 1 else "")
        yield Candidate(title, port, pids)


@contextmanager
def with_lua(place: Place, port: int) -> Iterator[Candidate]:
    """The same, with the key checked and calls counted in shared memory."""
    access = f"access_by_lua_file {LUA}/in_memory.lua;"
    with _lua_server(place, "nginx-lua", port, access) as pid:
        yield Candidate("nginx + Lua", port, (pid,), "SHA-256 of the key; one rate in shared memory")


@contextmanager
def with_redis(place: Place, port: int) -> Iterator[Candidate]:
    """The same, with a script call to a Redis of its own for every call: the least there is to it."""
    does = "SHA-256 of the key; one rate by one Redis script"
    with _asking_redis(place, port, "lua-redis", "count.redis.lua", "in_redis.lua") as (pid, redis):
        yield Candidate("nginx + Lua + Redis", port, (pid,), does, store_pids=(redis,))


@contextmanager
def with_redis_alike(place: Place, port: int) -> Iterator[Candidate]:
    """The same, deciding and telling what Tollway does, with the client that everybody uses."""
    if not RESTY_REDIS.exists():
        raise Missing(INSTALL_RESTY_REDIS)
    does = "SHA-256 of the key; a rate and a quota by one Redis script; RateLimit fields"
    with _asking_redis(place, port, "lua-alike", "decide.redis.lua", "alike.lua") as (pid, redis):
        yield Candidate("nginx + Lua + Redis, the same decision", port, (pid,), does, store_pids=(redis,))


@contextmanager
def _asking_redis(
    place: Place, port: int, name: str, script_name: str, access_name: str
) -> Iterator[tuple[int, int]]:
    """Process ids of nginx and of its Redis."""
    folder = place.folder / name
    folder.mkdir()
    path = folder / "redis.sock"
    options = {"port": "0", "unixsocket": str(path), "dir": str(folder), "appendonly": "yes", "save": ""}
    options["logfile"] = str(folder / "redis.log")
    command = [str(find_redis()), *(part for key, value in options.items() for part in (f"--{key}", value))]
    with server(place.folder, name, command, path) as redis:
        script = (LUA / script_name).read_bytes()
        _load(path, script)
        access = f"""set $redis "unix:{path}";
        set $script {sha1(script, usedforsecurity=False).hexdigest()};
        access_by_lua_file {LUA}/{access_name};"""
        with _lua_server(place, f"nginx-{name}", port, access) as pid:
            yield pid, redis.pid


@contextmanager
def _lua_server(place: Place, name: str, port: int, access: str) -> Iterator[int]:
    modules = [MODULES / "ndk_http_module.so", MODULES / "ngx_http_lua_module.so"]
    if not all(module.exists() for module in modules):
        raise Missing(INSTALL_LUA)
    http = _proxy(place, port, lua=_LUA.format(folder=LUA), access=access)
    loaded = "\n".join(f"load_module {module};" for module in modules)
    command = nginx_command(place.folder, name, http, modules=loaded)
    environ = {**os.environ, "BENCH_KEY": KEY}
    with server(place.folder, name, command, port, environ) as process:
        yield process.pid


def _proxy(place: Place, port: int, *, reuseport: str = "", lua: str = "", access: str = "") -> str:
    return _PROXY.format(
        port=port,
        upstream=place.upstream,
        streams=place.streams,
        reuseport=reuseport,
        lua=lua,
        access=access,
    )


def _load(socket_path: Path, script: bytes) -> None:
    """SCRIPT LOAD, so that EVALSHA finds it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(socket_path))
        connection.sendall(b"*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$%d\r\n%b\r\n" % (len(script), script))
        assert connection.recv(1024).startswith(b"$40"), "Redis took the script"
