"""Something to play with: a small upstream, and two accounts whose keys are the same at every start.

Owns what `tollway run --demo` and `tollway demo-upstream` show. Nothing here is part of serving real calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from gateway.accounts.records import Account, ApiKey
from gateway.accounts.store import Accounts
from gateway.errors import Conflict, Invalid, NotFound, StartupError
from gateway.model.principal import Mode

PROJECTS_MAX = 1000
SLOW_S_MAX = 60.0
STREAM_EVENTS_MAX = 100
STREAM_EVERY_S = 0.5

FREE_TIER = "community"  # as in the example policies
PAID_TIER = "team"
KEPT_IN = "demo.json"

Project = dict[str, object]
PROJECTS: web.AppKey[dict[str, Project]] = web.AppKey("projects", dict)


async def list_projects(request: web.Request) -> web.Response:
    return web.json_response({"projects": list(request.app[PROJECTS].values())})


async def create_project(request: web.Request) -> web.Response:
    projects = request.app[PROJECTS]
    try:
        asked = json.loads(await request.text() or "{}")
        name, private = asked.get("name", "untitled"), asked.get("private", False)
    except (ValueError, AttributeError):
        return web.json_response({"error": "send a JSON object"}, status=400)
    if not isinstance(name, str) or not isinstance(private, bool):
        return web.json_response({"error": "name is a text, private is true or false"}, status=422)
    if len(projects) >= PROJECTS_MAX:
        return web.json_response({"error": f"{PROJECTS_MAX} projects are enough; delete one"}, status=409)
    project: Project = {"id": f"prj_{secrets.token_hex(4)}", "name": name[:100], "private": private}
    projects[str(project["id"])] = project
    return web.json_response(project, status=201, headers={"Location": f"/api/v1/projects/{project['id']}"})


def asked_for(request: web.Request) -> Project:
    project = request.app[PROJECTS].get(request.match_info["id"])
    if project is None:
        raise web.HTTPNotFound(text='{"error": "no such project"}', content_type="application/json")
    return project


async def show_project(request: web.Request) -> web.Response:
    return web.json_response(asked_for(request))


async def show_private_notes(request: web.Request) -> web.Response:
    return web.json_response({"project": asked_for(request)["id"], "notes": "for paying eyes only"})


async def search(request: web.Request) -> web.Response:
    wanted = request.query.get("q", "").lower()
    found = [one for one in request.app[PROJECTS].values() if wanted in str(one["name"]).lower()]
    return web.json_response({"projects": found})


async def delete_project(request: web.Request) -> web.Response:
    del request.app[PROJECTS][str(asked_for(request)["id"])]
    return web.Response(status=204)


async def export(request: web.Request) -> web.Response:
    rows = "".join(f"{one['id']},{one['name']}\n" for one in request.app[PROJECTS].values())
    return web.Response(text=f"id,name\n{rows}", content_type="text/csv")


async def echo(request: web.Request) -> web.Response:
    """What arrived here, so that one can see what the gateway adds and takes away."""
    headers = [[name, value] for name, value in request.headers.items()]
    return web.json_response({"method": request.method, "path": request.path_qs, "headers": headers})


async def slow(request: web.Request) -> web.Response:
    try:
        seconds = min(max(float(request.query.get("seconds", "1")), 0.0), SLOW_S_MAX)
    except ValueError:
        return web.json_response({"error": "seconds is a number"}, status=400)
    await asyncio.sleep(seconds)
    return web.json_response({"slept_s": seconds})


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events, one every half second."""
    try:
        events = min(max(int(request.query.get("events", "5")), 1), STREAM_EVENTS_MAX)
    except ValueError:
        return web.json_response({"error": "events is a number"}, status=400)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionResetError):
        for number in range(1, events + 1):
            if number > 1:
                await asyncio.sleep(STREAM_EVERY_S)
            await response.write(f"id: {number}\ndata: event {number} of {events}\n\n".encode())
        await response.write_eof()
    return response


async def health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def demo_app() -> web.Application:
    """The demo upstream: a projects API that knows nothing of keys, tiers or limits."""
    app = web.Application()
    first: Project = {"id": "prj_welcome", "name": "welcome", "private": False}
    app[PROJECTS] = {"prj_welcome": first}
    app.add_routes(
        [
            web.get("/api/v1/projects", list_projects),
            web.post("/api/v1/projects", create_project),
            web.get("/api/v1/projects/{id}", show_project),
            web.delete("/api/v1/projects/{id}", delete_project),
            web.get("/api/v1/projects/{id}/private", show_private_notes),
            web.get("/api/v1/search", search),
            web.get("/api/v1/exports", export),
            web.route("*", "/api/v1/echo", echo),
            web.get("/api/v1/slow", slow),
            web.get("/api/v1/stream", stream),
            web.get("/healthz", health),
        ]
    )
    return app


async def serve_demo_upstream(host: str, port: int, stop: asyncio.Event) -> None:
    """Serve the demo upstream until `stop` is set. StartupError if the port can not be bound."""
    runner = web.AppRunner(demo_app(), access_log=None, shutdown_timeout=1.0, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "unknown host"
            raise StartupError(f"The demo upstream can not listen on {host}:{port}: {reason}.") from error
        await stop.wait()
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class DemoKey:
    """One demo account with a key that works."""

    account: str  # public id
    tier: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DemoKeys:
    """What `render_demo` shows."""

    free: DemoKey
    paid: DemoKey


async def prepare_demo(accounts: Accounts, data_dir: Path) -> DemoKeys:
    """Two demo accounts with a test key each, the same at the next start.

    The secrets are kept in `data_dir`, readable by its owner only. A wiped database gets them back from
    there; a wiped file gets new keys for the accounts that are there. StartupError if it can not be kept.
    """
    path = data_dir / KEPT_IN
    kept = _read_kept(path)
    keys = DemoKeys(
        free=await _prepare_key(accounts, FREE_TIER, kept.get(FREE_TIER)),
        paid=await _prepare_key(accounts, PAID_TIER, kept.get(PAID_TIER)),
    )
    now = {key.tier: key.secret for key in (keys.free, keys.paid)}
    if now != kept:
        _keep(path, now)
    return keys


async def _prepare_key(accounts: Accounts, tier: str, kept: str | None) -> DemoKey:
    account = await _find_or_create(accounts, tier)
    if kept is not None:
        with contextlib.suppress(Invalid, Conflict):  # a broken file, or a key that went to somebody else
            if _works(await accounts.import_key(account.public_id, kept, "demo")):
                return DemoKey(account.public_id, tier, kept)
    _, secret = await accounts.create_key(account.public_id, "demo", Mode.TEST)
    return DemoKey(account.public_id, tier, secret)


async def _find_or_create(accounts: Accounts, tier: str) -> Account:
    external_id = f"tollway-demo-{tier}"
    try:
        return await accounts.find_account(external_id)
    except NotFound:
        with contextlib.suppress(Conflict):  # another gateway on this database was quicker
            return await accounts.create_account(f"Demo, {tier} tier", tier, external_id=external_id)
        return await accounts.find_account(external_id)


def _works(key: ApiKey) -> bool:
    return key.revoked_at is None and key.expires_at is None


def _read_kept(path: Path) -> dict[str, str]:
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and all(isinstance(one, str) for one in kept.values()) else {}


def _keep(path: Path, secrets_by_tier: dict[str, str]) -> None:
    aside = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(secrets_by_tier, file)
        aside.replace(path)
    except OSError as error:
        raise StartupError(f"The demo keys can not be kept in {path}: {error.strerror}.") from error


def render_demo(keys: DemoKeys, *, gateway_url: str, control_url: str, token_file: Path | None = None) -> str:
    """What the person at the terminal can do now: lines to paste. `token_file` keeps the admin token."""
    token = "$TOLLWAY_ADMIN_TOKEN" if token_file is None else f"$(cat {shlex.quote(str(token_file))})"
    projects = shlex.quote(f"{gateway_url}/api/v1/projects")  # the brackets of IPv6 are the shell's, too
    call = f'curl -i {projects} -H "X-API-Key: '
    tollway = (
        "tollway" if shutil.which("tollway") else os.path.relpath(Path(sys.executable).parent / "tollway")
    )
    return f"""
Tollway is ready.

  Free tier ({keys.free.tier})
    {call}{keys.free.secret}"

  Paid tier ({keys.paid.tier})
    {call}{keys.paid.secret}"

  Try        {gateway_url}/api/v1/exports with both, or one of them often: 403, then 429
  Usage      {tollway} usage --account {keys.free.account}
  Metrics    curl {shlex.quote(f"{control_url}/metrics")}
  Admin API  curl {shlex.quote(f"{control_url}/admin/v1/accounts")} -H "Authorization: Bearer {token}"
  Stop       Ctrl-C
"""
