"""Servers of several kinds in front of the same applications, each on a port of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from aiohttp import web

from tests.integration.dataplane.threats.origins.apps import PATH, PREMIUM, aiohttp_app, told, wsgi

Serve = Callable[[Path], AbstractAsyncContextManager[int]]

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 100000;
        location = {path} {{ return 200 "{premium}"; }}
        location / {{
            default_type application/json;
            return 200 '{{"path": "x", "fields": [["tollway-account", "$http_tollway_account"],
                ["tollway-tier", "$http_tollway_tier"], ["tollway-key-id", "$http_tollway_key_id"]]}}';
        }}
    }}
}}
"""


@asynccontextmanager
async def raw(_: Path) -> AsyncIterator[int]:
    """What it takes to be an HTTP server, and not a line more: nothing is made canonical."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                path = unquote(head[0].split(" ")[1].partition("?")[0])
                fields = [
                    (name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:-2])
                ]
                body = PREMIUM.encode() if path == PATH else told(path, fields)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@asynccontextmanager
async def wsgiref(_: Path) -> AsyncIterator[int]:
    server = make_server("127.0.0.1", 0, wsgi, handler_class=_Silent)
    serving = asyncio.get_running_loop().run_in_executor(None, server.serve_forever, 0.05)
    yield server.server_port
    await asyncio.get_running_loop().run_in_executor(None, server.shutdown)
    await serving
    server.server_close()


@asynccontextmanager
async def aiohttp(_: Path) -> AsyncIterator[int]:
    runner = web.AppRunner(aiohttp_app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def answers(port: int) -> None:
    """Returns once the server behind a port that is open already has answered a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(60):
        await reader.read(-1)
    writer.close()


def gunicorn(app: str, worker: str) -> Serve:
    """An application of `apps` under gunicorn with workers of this kind."""

    @asynccontextmanager
    async def serve(folder: Path) -> AsyncIterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as listening:  # connections wait in it until it is up
            number = listening.fileno()
            command = [
                sys.executable,
                "-m",
                "gunicorn",
                "-k",
                worker,
                "-b",
                f"fd://{number}",
                "--no-control-socket",
            ]
            command += ["--worker-tmp-dir", str(folder), "--threads", "4", "--log-level", "error", app]
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[5])}
            with running(command, pass_fds=(number,), env=environment):
                port = listening.getsockname()[1]
                await answers(port)
                yield port

    return serve


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the block lasts."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


@asynccontextmanager
async def node(_: Path) -> AsyncIterator[int]:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    with running(["node", str(Path(__file__).with_name("node.js"))], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        loop = asyncio.get_running_loop()
        yield int(await loop.run_in_executor(None, process.stdout.readline))


@asynccontextmanager
async def nginx(folder: Path) -> AsyncIterator[int]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, path=PATH, premium=PREMIUM))
    with running(["nginx", "-e", "stderr", "-p", str(folder), "-c", str(config)]):
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield port


_APPS = "tests.integration.dataplane.threats.origins.apps"

ORIGINS: dict[str, Serve] = {
    "raw": raw,
    "WSGI": wsgiref,
    "WSGI with a framework": gunicorn(f"{_APPS}:framework", "gthread"),
    "ASGI": gunicorn(f"{_APPS}:asgi", "asgi"),
    "aiohttp": aiohttp,
    "Node": node,
    "nginx": nginx,
}
