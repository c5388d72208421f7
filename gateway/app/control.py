"""The control process: operators' port and customers' port."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import timedelta

from aiohttp import web

from gateway import __version__
from gateway.accounts.store import Accounts
from gateway.admission.counters import QuotaCounters
from gateway.admission.open_counters import Counting, open_counters
from gateway.admission.open_store import open_onlooker
from gateway.app.keys_file import KeysFile
from gateway.app.policies import PoliciesInUse
from gateway.app.policy_notes import PolicyNotes
from gateway.app.process import Process
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.doors import Doors
from gateway.controlplane.health import Health
from gateway.controlplane.identity import Identity
from gateway.controlplane.operator_app import build_operator_app
from gateway.controlplane.portal import build_portal_app
from gateway.controlplane.proxies import Proxies
from gateway.controlplane.serving import ControlRunner
from gateway.controlplane.tokens import BootstrapToken
from gateway.dataplane.tls import Certificate
from gateway.explain.explainer import Explainer, Frame
from gateway.ledger.quota_events import QuotaEvents
from gateway.ledger.quotas import QuotaLedger
from gateway.ledger.retention import keep_months_forever
from gateway.ledger.usage import Usage
from gateway.model.forwarded import forwarded, x_forwarded_for
from gateway.operators import idempotency
from gateway.operators.policy_history import PolicyHistory
from gateway.people import requests
from gateway.people.delivery import by_smtp, into_files
from gateway.people.inviting import Inviting
from gateway.people.outbox import Deliver, Outbox
from gateway.people.passwords import Passwords
from gateway.people.vault import Vault
from gateway.policy.folder import PolicyFolder
from gateway.reconciliation.job import rebuild_forever, reconcile_forever
from gateway.reconciliation.rebuild import Rebuilder
from gateway.reconciliation.reconciler import Reconciler
from gateway.settings import Address, Settings
from gateway.storage.postgres import Pool, lazy_pool
from gateway.storage.redis_memory import MemoryWatch
from gateway.storage.tick_client import TickClient, tick_client
from gateway.telemetry.catalogue import State
from gateway.telemetry.slots import Slots
from gateway.thresholds.job import book_forever

log = logging.getLogger("tollway.control")


async def serve_control(process: Process) -> None:
    """Serve both private ports until told to stop."""
    wiring, settings = process.wiring, process.wiring.settings
    policies = PoliciesInUse(process)
    pool = await lazy_pool(wiring.database_url, max_size=8)
    history = PolicyHistory(pool)
    _follow_policies(process, history, policies)
    counting = await open_counters(wiring.redis_url)
    counters = counting.counters
    collaborators = Collaborators(
        pool=pool,
        accounts=Accounts(pool, settings.key_prefix),
        usage=Usage(pool),
        policies=policies.policies,
        clock=process.clock,
        counters=counters,
        slots=process.slots,
        usage_window=timedelta(days=settings.usage_window_days),
        key_refusal_ms=settings.key_refusal_ms,
    )
    looks, explainer = _explainer(process, pool, policies)
    identity = _identity(process, pool, policies)
    operators = build_operator_app(
        collaborators,
        health=_health(process, pool, counting),
        explains=explainer,
        inviting=Inviting(identity.outbox, identity.portal_url),
        history=history,
        folder=PolicyFolder(settings.policies, wiring.objection),
        bootstrap=BootstrapToken(wiring.admin_token),
        slots_folder=wiring.metrics_dir,
        version=__version__,
    )
    runners = [
        await _serve(operators, settings.control, _operators_tls(process)),
        await _serve(build_portal_app(collaborators, identity, __version__), settings.portal),
    ]
    _spawn_jobs(process, pool, identity)
    _follow_keys_file(process, collaborators)
    _compare_quotas(process, pool, counters, policies)
    thresholds = book_forever(counting.crossings, QuotaEvents(pool), process.slots)
    process.tasks.spawn(thresholds, name="control.quota_events")
    process.state(State.READY)
    await process.stop.wait()
    process.state(State.DRAINING)
    await asyncio.gather(*(runner.cleanup() for runner in runners))
    identity.passwords.close()
    await looks.close()
    await counting.close()
    pool.terminate()


def _health(process: Process, pool: Pool, counting: Counting) -> Health:
    wiring = process.wiring
    memory = MemoryWatch(wiring.redis_url)
    process.tasks.spawn(memory.watch(), name="control.redis_memory")
    return Health(
        wiring.metrics_dir,
        wiring.settings.workers,
        process.clock,
        process.tasks,
        postgres=lambda: pool.fetchval("SELECT 1"),
        redis=counting.ping,
        evicting=lambda: memory.policy,
    )


def _spawn_jobs(process: Process, pool: Pool, identity: Identity) -> None:
    """What is done now and again for the tables: forgetting, mails, partitions."""
    tasks, settings = process.tasks, process.wiring.settings
    tasks.spawn(idempotency.forget_forever(pool), name="control.idempotency")
    tasks.spawn(requests.forget_forever(pool), name="control.people")
    tasks.spawn(identity.outbox.send_forever(pool, _deliver(settings)), name="control.mail")
    tasks.spawn(keep_months_forever(pool, settings.raw_retention_months), name="control.retention")


def _follow_keys_file(process: Process, with_: Collaborators) -> None:
    """Keep the keys of the operator's file as its lines say, if there is one."""
    if (path := process.wiring.settings.keys_file) is not None:
        file = KeysFile(path, with_.pool, with_.accounts, lambda: with_.policies().tiers, process.slots)
        process.tasks.spawn(file.follow(), name="control.keys_file")


def _compare_quotas(process: Process, pool: Pool, counters: QuotaCounters, policies: PoliciesInUse) -> None:
    """Keep quota counters as the ledger has them: at once after a loss, and every now and then."""
    ledger, interval_s = QuotaLedger(pool), float(process.wiring.settings.reconcile_interval_s)
    rebuilder = Rebuilder(ledger, counters, policies.policies, server=process.wiring.redis_name)
    process.tasks.spawn(rebuild_forever(rebuilder, pool, process.slots), name="control.rebuild")
    if interval_s:
        reconciler = Reconciler(ledger, counters, policies.policies)
        job = reconcile_forever(reconciler, pool, process.slots, interval_s)
        process.tasks.spawn(job, name="control.reconcile")


def _follow_policies(process: Process, history: PolicyHistory, policies: PoliciesInUse) -> None:
    """Reload them when told to, and note each that is taken into use."""
    notes = PolicyNotes(history, process.wiring.accepted_policies, policies.policies)

    def reload() -> None:
        policies.reload()
        notes.wake()

    process.on_reload = reload
    process.tasks.spawn(notes.keep(), name="control.policies")


def _explainer(process: Process, pool: Pool, policies: PoliciesInUse) -> tuple[TickClient, Explainer]:
    """Whoever explains calls, and its connection to the counters, for whoever ends it."""
    looks = tick_client(process.wiring.redis_url, Slots.in_memory(), process.tasks)
    settings, clock = process.wiring.settings, process.clock
    frame = Frame(settings.key_prefix, settings.max_body_bytes)
    store = open_onlooker(looks, clock, process.wiring.redis_name)
    explainer = Explainer(pool, store, policies.current, clock, process.tasks, frame)
    looks.start()
    return looks, explainer


def _identity(process: Process, pool: Pool, policies: PoliciesInUse) -> Identity:
    settings = process.wiring.settings
    vault = Vault(pool, settings.portal_secret)
    hops = forwarded if settings.trusted_header == "forwarded" else x_forwarded_for
    identity = Identity(
        passwords=Passwords(),
        vault=vault,
        outbox=Outbox(vault),
        doors=Doors(process.clock),
        portal_url=settings.portal_base_url,
        registration=settings.registration,
        proxies=Proxies(settings.trusted_proxies, hops),
        default_tier=settings.default_tier,
        session_days=settings.session_days,
        foreign_keys=settings.any_keys,
        wrong_keys_per_minute=settings.wrong_keys_per_minute,
    )
    if settings.registration and identity.tier_of_newcomers(policies.policies()) is None:
        level = logging.INFO if settings.default_tier is None else logging.WARNING
        log.log(level, "nobody can register: set TOLLWAY_DEFAULT_TIER to a tier that the policies have")
    return identity


def _deliver(settings: Settings) -> Deliver:
    if settings.smtp_url is not None:
        return by_smtp(settings.smtp_url, settings.mail_from)
    return into_files(settings.data_dir / "mail", settings.mail_from)


def check_operators_certificate(settings: Settings) -> Certificate | None:
    """The control port's certificate, if it has one. StartupError in one line if it can not be used."""
    if settings.control_tls_cert is None or settings.control_tls_key is None:
        return None
    return Certificate(settings.control_tls_cert, settings.control_tls_key, "TOLLWAY_CONTROL_TLS")


def _operators_tls(process: Process) -> ssl.SSLContext | None:
    certificate = check_operators_certificate(process.wiring.settings)
    if certificate is None:
        return None
    process.tasks.spawn(certificate.watch(), name="control.certificate")
    return certificate.context


async def _serve(app: web.Application, address: Address, tls: ssl.SSLContext | None = None) -> ControlRunner:
    runner = ControlRunner(app)
    await runner.setup()
    await web.TCPSite(runner, address.host, address.port, reuse_port=True, ssl_context=tls).start()
    return runner
