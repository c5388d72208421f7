"""A worker: the data plane on the shared public port."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from gateway.accounts.recognition import find_account_principal, find_principal
from gateway.admission.admitter import Admitter
from gateway.admission.open_store import open_store
from gateway.admission.presence import announce_forever
from gateway.app.board import Board, Phase
from gateway.app.enforcement import SwitchFollower
from gateway.app.memory import give_back, measure, worker_bound
from gateway.app.policies import PoliciesInUse
from gateway.app.process import Process
from gateway.app.reports import report_forever
from gateway.app.wiring import Wiring
from gateway.auth.authenticator import Authenticator
from gateway.auth.guesses import Guesses
from gateway.auth.listener import KeyListener
from gateway.auth.refusals import Refusals
from gateway.dataplane.caller import ProxyProtocol, Trust, TrustedHeader
from gateway.dataplane.listening import Listeners
from gateway.dataplane.long_calls import LongCalls
from gateway.dataplane.overload import Bounds, Overload
from gateway.dataplane.pipeline import Pipeline
from gateway.dataplane.server import IDLE_GRACE_S, REPLACED_GRACE_S, DataplaneServer
from gateway.dataplane.tls import Certificate
from gateway.dataplane.waits import Waits
from gateway.deadlines import Deadlines
from gateway.journal.writer import SYNC_INTERVAL_S, JournalWriter
from gateway.metering.meter import Meter
from gateway.metering.progress import LongCallNotes
from gateway.metering.request_ids import RequestIds
from gateway.model.policies import NO_LIMIT, Target
from gateway.operators.enforcement import CHANNEL, Switches
from gateway.outbox import Outbox
from gateway.policy.target_texts import TargetParts
from gateway.settings import Settings
from gateway.storage.postgres import Pool, lazy_pool
from gateway.storage.tick_client import tick_client
from gateway.telemetry.catalogue import State
from gateway.upstream.forwarder import Forwarder

FOLLOW_S = 0.1
"""How often a worker looks at the board."""


async def serve_worker(process: Process, post: int) -> None:
    """Serve customers' calls at this post until told to stop; then finish what is in flight."""
    wiring, settings = process.wiring, process.wiring.settings
    slots, clock, tasks = process.slots, process.clock, process.tasks
    policies = PoliciesInUse(process)
    process.on_reload = policies.reload

    pool = await lazy_pool(wiring.database_url)
    switches = await _follow_switches(process, pool, policies)
    auth = _authenticator(process, pool, switches)

    redis = tick_client(wiring.redis_url, slots, tasks)
    store, trust = open_store(redis, clock, slots, wiring.redis_name)
    admission = Admitter(
        store,
        slots,
        clock,
        tasks,
        f"{process.name}-{secrets.token_hex(4)}",
        workers=settings.expected_workers or settings.workers,
    )
    redis.start()
    await redis.wait_until_up()
    tasks.spawn(trust.watch(), name="admission.trust")

    request_ids = RequestIds.make(clock.now_us())
    meter = _open_journal(process, request_ids)
    tasks.spawn(announce_forever(redis, clock, request_ids.prefix.hex()), name="admission.announce")

    loop = asyncio.get_running_loop()
    deadlines, outbox = Deadlines(), Outbox(loop)
    upstream = Forwarder(deadlines, outbox, slots, tasks, _own_places(wiring))

    def reload() -> None:
        policies.reload()
        upstream.adopt(policies.policies().upstreams)

    upstream.adopt(policies.policies().upstreams)
    process.on_reload = reload
    report = wiring.metrics_dir / f"{process.name}.report"
    tasks.spawn(report_forever(report, lambda: policies.policies().digest, upstream), name="worker.report")
    overload = Overload(_bounds(settings), slots, clock, measure(), give_back)
    tasks.spawn(overload.watch(), name="worker.overload")
    pipeline = Pipeline(
        policies,
        auth,
        admission,
        meter,
        upstream,
        overload=overload,
        max_body_bytes=settings.max_body_bytes or NO_LIMIT,
    )
    server = _server(process, pipeline, deadlines, outbox)
    _look_after_long_calls(process, server, meter, auth, policies)
    await _keep_port(process, server, post)
    upstream.close()
    await admission.close()
    await redis.close()
    meter.close()
    pool.terminate()


def _own_places(wiring: Wiring) -> Callable[[Target], str | None]:
    """What the policies were checked by, for targets that lead elsewhere since."""
    return lambda target: wiring.objection(TargetParts(target.host, target.port, socket=target.socket))


def _open_journal(process: Process, request_ids: RequestIds) -> Meter:
    settings = process.wiring.settings
    journal = JournalWriter(
        process.wiring.journals_dir,
        prefix=request_ids.prefix,
        clock=process.clock,
        name=process.name,
        sync_interval_s=None if settings.journal_sync == "off" else SYNC_INTERVAL_S,
        durable=settings.journal_sync == "always",
        max_bytes=settings.journal_max_mb * 1024 * 1024,
    )
    pass_unrecorded = settings.on_journal_full == "pass"
    return Meter(journal, process.slots, process.clock, request_ids, pass_unrecorded=pass_unrecorded)


async def _follow_switches(process: Process, pool: Pool, policies: PoliciesInUse) -> SwitchFollower:
    """Knows what operators switched before the first call comes."""
    clock = process.clock
    follower = SwitchFollower(
        lambda: Switches(pool).enforcement(clock.now_us()),
        policies.switch,
        process.wiring.switches_file,
        process.slots,
        clock,
    )
    await follower.begin()
    process.tasks.spawn(follower.run(), name="enforcement.follow")
    return follower


def _authenticator(process: Process, pool: Pool, switches: SwitchFollower) -> Authenticator:
    """Recognises keys, and hears of those that change; of switches, too."""
    settings = process.wiring.settings
    auth = Authenticator(
        lambda digest: find_principal(pool, digest),
        process.slots,
        process.clock,
        process.tasks,
        settings.key_prefix,
        foreign_keys=settings.any_keys,
        guesses=Guesses(process.clock, process.slots, settings.wrong_keys_per_minute),
        refusals=Refusals(process.clock, settings.key_refusal_ms),
        account_lookup=lambda name, digest: find_account_principal(pool, name, digest),
    )
    others = {CHANNEL: switches.hear}
    listener = KeyListener(process.wiring.database_url, auth.cache, process.slots, others)
    process.tasks.spawn(listener.run(), name="auth.listen")
    return auth


def _look_after_long_calls(
    process: Process, server: DataplaneServer, meter: Meter, auth: Authenticator, policies: PoliciesInUse
) -> None:
    notes = LongCallNotes(meter, process.wiring.settings.progress_interval_s)
    clock, slots, tasks = process.clock, process.slots, process.tasks
    long_calls = LongCalls(server, notes, auth.rights, policies, clock=clock, slots=slots, tasks=tasks)
    tasks.spawn(long_calls.run(), name="dataplane.long_calls")


def _waits(settings: Settings) -> Waits:
    """What callers get of this worker."""
    return Waits(
        head_s=settings.head_timeout_s,
        body_s=settings.body_timeout_s,
        min_bytes_per_s=settings.min_bytes_per_s,
        keepalive_s=settings.keepalive_timeout_s,
        max_head_bytes=settings.max_head_bytes,
        max_connections=settings.max_connections,
        max_connections_per_address=settings.max_connections_per_address,
    )


def _bounds(settings: Settings) -> Bounds:
    """What this worker may come to."""
    memory_mb = settings.max_memory_mb
    memory_bytes = worker_bound(settings.workers) if memory_mb is None else memory_mb << 20
    return Bounds(settings.max_loop_lag_ms / 1000, memory_bytes)


async def _keep_port(process: Process, server: DataplaneServer, post: int) -> None:
    """Serve the public port until told to stop, then finish what is in flight."""
    wiring, settings = process.wiring, process.wiring.settings
    listeners = Listeners(wiring.posts, server)
    await listeners.attend(post)
    following = process.tasks.spawn(_follow(wiring.board, listeners, server, post), name="worker.board")
    process.state(State.READY)
    await process.stop.wait()

    process.state(State.DRAINING)
    following.cancel()
    server.say_last()
    if _port_closes(process):
        await listeners.attend_only({post, *wiring.board.unattended()})
        await listeners.close()
    else:
        listeners.leave_all()  # another worker attends the post
    await server.drain(
        settings.drain_timeout_s, lambda: IDLE_GRACE_S if _port_closes(process) else REPLACED_GRACE_S
    )


def _port_closes(process: Process) -> bool:
    """Whether the whole gateway stops, rather than this worker alone."""
    return process.wiring.board.phase is Phase.CLOSING or process.is_orphan


async def _follow(board: Board, listeners: Listeners, server: DataplaneServer, own: int) -> None:
    """Do what the board says: stand in for workers that are gone, and prepare callers for the end."""
    while True:
        await asyncio.sleep(FOLLOW_S)
        if board.phase is not Phase.OPEN:
            server.say_last()
        await listeners.attend_only({own, *board.unattended()})


def check_certificate(settings: Settings) -> Certificate | None:
    """The public port's certificate, if it has one. StartupError in one line if it can not be used."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key)


def _server(process: Process, pipeline: Pipeline, deadlines: Deadlines, outbox: Outbox) -> DataplaneServer:
    settings = process.wiring.settings
    certificate, context = check_certificate(settings), None
    if certificate is not None:
        process.tasks.spawn(certificate.watch(), name="dataplane.certificate")
        context = certificate.context
    trust = Trust(
        settings.trusted_proxies,
        TrustedHeader(settings.trusted_header),
        ProxyProtocol(settings.proxy_protocol),
        send_forwarded=settings.send_forwarded,
    )
    return DataplaneServer(
        pipeline.handle, _waits(settings), deadlines, outbox, process.slots, trust=trust, tls=context
    )
