"""Every setting, declared once: its type, default and meaning. `docs/settings.md` is tested against it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from gateway.model.networks import NO_NETWORKS, Networks, parse_networks
from gateway.people.mail_server import MailServer, parse_sender
from gateway.settings.address import Address
from gateway.settings.texts import as_choice, as_flag, as_key_prefix, as_path, as_secret, as_url, as_whole

PREFIX = "TOLLWAY_"
MAIL_FROM = "tollway@localhost"


def available_cores() -> int:
    """How many cores this process may use, at least one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _log_format() -> str:
    return "console" if sys.stderr.isatty() else "json"


def _setting(
    parse: Callable[[str], Any],
    about: str,
    *,
    default: Any = None,
    shown: str | None = None,
    secret: bool = False,
) -> Any:
    """One declared setting: how its text is read, what it means, what holds without it."""
    told = {
        "parse": parse,
        "about": about,
        "shown": str(default) if shown is None else shown,
        "secret": secret,
    }
    if callable(default):
        return field(default_factory=default, repr=not secret, metadata=told)
    return field(default=default, repr=not secret, metadata=told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the environment decides. Made by `read_settings`; the defaults alone are a working set."""

    database_url: str | None = _setting(
        as_url("postgresql", "postgres"),
        "PostgreSQL 14 or newer. Unset: a private one under the data directory.",
        shown="embedded",
        secret=True,
    )
    redis_url: str | None = _setting(
        as_url(
            "redis",
            "rediss",
            "unix",
            "redis+sentinel",
            "rediss+sentinel",
            "redis+cluster",
            "rediss+cluster",
        ),
        "Redis 6.2 or newer. Unset: a private one under the data directory.",
        shown="embedded",
        secret=True,
    )
    admin_token: str | None = _setting(
        as_secret(16), "The first token of the admin API, at least 16 characters.", shown="none", secret=True
    )
    data_dir: Path = _setting(
        as_path,
        "Journals, counters and the embedded servers' data.",
        default=Path(".tollway"),
        shown="./.tollway",
    )
    policies: Path = _setting(
        as_path, "Folder of the policy files.", default=Path("policies"), shown="./policies"
    )
    listen: Address = _setting(
        Address.parse, "Where customers' calls arrive.", default=Address("127.0.0.1", 8080)
    )
    control: Address = _setting(
        Address.parse, "Admin API, metrics and health, for operators.", default=Address("127.0.0.1", 8090)
    )
    portal: Address = _setting(
        Address.parse, "People's API and pages, for customers.", default=Address("127.0.0.1", 8091)
    )
    portal_url: str | None = _setting(
        as_url("https", "http"),
        "The portal's public address, as upgrade links show it.",
        shown="http:// and the portal's host and port",
    )
    portal_secret: str | None = _setting(
        as_secret(32),
        "Signs people's access tokens and seals what waits; 32 characters or more, alike on all gateways.",
        shown="made once, kept in the database",
        secret=True,
    )
    registration: bool = _setting(
        as_flag, "`no`: people join accounts by invitation only.", default=True, shown="yes"
    )
    default_tier: str | None = _setting(
        str, "Tier of accounts that register themselves.", shown="the first free tier"
    )
    session_days: int = _setting(
        as_whole(1, 3650),
        "Days after a person's log-in when they have to log in again, however much they do.",
        default=90,
    )
    smtp_url: MailServer | None = _setting(
        MailServer.parse,
        "Mail server, as smtp://user:password@host:587. Unset: mails become files in the data directory.",
        shown="none",
        secret=True,
    )
    mail_from: str = _setting(parse_sender, "Sender of mails.", default=MAIL_FROM)
    workers: int = _setting(
        as_whole(1, 256),
        "Processes that serve customers' calls.",
        default=available_cores,
        shown="one per core",
    )
    expected_workers: int | None = _setting(
        as_whole(1, 65_536),
        "Workers on all machines that share the limits: each has its part while Redis is gone "
        "(`on_store_loss: local`).",
        shown="`TOLLWAY_WORKERS`",
    )
    key_prefix: str = _setting(as_key_prefix, "How new API keys begin.", default="tw")
    foreign_keys: bool = _setting(
        as_flag,
        "`yes` accepts keys of any format, imported by SHA-256; then every bearer token counts as a key.",
        default=False,
        shown="no",
    )
    keys_file: Path | None = _setting(
        as_path,
        "CSV of keys made elsewhere, by SHA-256, that work while they stand there; implies foreign keys.",
        shown="none",
    )
    wrong_keys_per_minute: int = _setting(
        as_whole(0, 1_000_000),
        "Keys that do not work a worker looks up for one address; beyond, unknown ones get 429. 0: no bound.",
        default=60,
    )
    key_refusal_ms: int = _setting(
        as_whole(0, 1000),
        "Milliseconds until a key or token that does not work is refused; by chance up to twice as many.",
        default=10,
    )
    log_format: str = _setting(
        as_choice("console", "json"),
        "`console` for people, `json` for machines.",
        default=_log_format,
        shown="console on a terminal, else json",
    )
    log_level: str = _setting(
        as_choice("debug", "info", "warning", "error"), "The least that is logged.", default="info"
    )
    drain_timeout_s: int = _setting(
        as_whole(0, 3600),
        "Seconds that calls in flight may take to finish when the gateway, or a worker of it, stops.",
        default=30,
    )
    drain_delay_s: int = _setting(
        as_whole(0, 3600),
        "Seconds that a stopping gateway is not ready but accepts calls, for load balancers to notice.",
        default=0,
    )
    head_timeout_s: int = _setting(
        as_whole(1, 300), "Seconds until a request's head is complete.", default=10
    )
    body_timeout_s: int = _setting(
        as_whole(1, 3600),
        "Seconds a caller may pause within a body, or within reading an answer.",
        default=30,
    )
    min_bytes_per_s: int = _setting(
        as_whole(0, 10**9),
        "Bytes a second that a caller must send of a body, or read of an answer, on average; 0: any.",
        default=240,
    )
    keepalive_timeout_s: int = _setting(
        as_whole(1, 3600), "Seconds an idle client connection stays open.", default=75
    )
    max_head_bytes: int = _setting(
        as_whole(1024, 1_048_576), "The largest request head that is accepted.", default=65536
    )
    max_body_bytes: int = _setting(
        as_whole(0, 10**12 - 1),
        "The largest request body where a route says nothing; 0: no limit.",
        default=0,
    )
    max_connections: int = _setting(
        as_whole(1, 1_000_000), "Client connections of one worker; those beyond are cut.", default=20_000
    )
    max_connections_per_address: int = _setting(
        as_whole(1, 1_000_000),
        "Client connections of one worker from one address; of IPv6, from one /64.",
        default=4096,
    )
    journal_sync: str = _setting(
        as_choice("interval", "always", "off"),
        "When the disk is asked to keep journals: each second, for each call, or never.",
        default="interval",
    )
    journal_max_mb: int = _setting(
        as_whole(1, 100_000_000),
        "Megabytes of journals that may wait to be booked; at least 32 for each worker.",
        default=10_240,
    )
    on_journal_full: str = _setting(
        as_choice("refuse", "pass"),
        "Calls that can not be recorded: `refuse` with 503, or `pass` and count them.",
        default="refuse",
    )
    progress_interval_s: int = _setting(
        as_whole(1, 3600), "Seconds between two notes of how far a long call is.", default=10
    )
    trusted_proxies: Networks = _setting(
        parse_networks,
        "Ranges of the proxies in front whose word about the caller counts, with commas between.",
        default=NO_NETWORKS,
        shown="none",
    )
    trusted_header: str = _setting(
        as_choice("x-forwarded-for", "forwarded"),
        "The header in which those proxies name the caller; the other one is ignored.",
        default="x-forwarded-for",
    )
    proxy_protocol: str = _setting(
        as_choice("off", "trusted", "all"),
        "Whose connections must begin with a PROXY preamble: those of trusted proxies, or `all`.",
        default="off",
    )
    send_forwarded: bool = _setting(
        as_flag, "`yes` tells upstreams where calls come from in `Forwarded` too.", default=False, shown="no"
    )
    max_loop_lag_ms: int = _setting(
        as_whole(0, 60_000),
        "How late a worker's loop may be, for a second, before it turns calls away with 503. 0: never.",
        default=250,
    )
    max_memory_mb: int | None = _setting(
        as_whole(0, 1_000_000),
        "MiB of memory from which a worker turns calls away with 503. 0: never.",
        shown="its share of 80 % of the machine or container",
    )
    tls_cert: Path | None = _setting(
        as_path,
        "PEM file of the public port's certificate and its chain; calls then arrive by TLS.",
        shown="none",
    )
    tls_key: Path | None = _setting(as_path, "PEM file of that certificate's key.", shown="none")
    control_tls_cert: Path | None = _setting(
        as_path,
        "PEM file of the control port's certificate and its chain; operators then come by TLS.",
        shown="none",
    )
    control_tls_key: Path | None = _setting(as_path, "PEM file of that certificate's key.", shown="none")
    control_wide: bool = _setting(
        as_flag,
        "`yes` lets the control port listen beyond loopback without a token of yours or without TLS.",
        default=False,
        shown="no",
    )

    reconcile_interval_s: int = _setting(
        as_whole(0, 86_400),
        "Seconds between two comparisons of quota counters with the ledger; 0: never.",
        default=300,
    )
    usage_window_days: int = _setting(
        as_whole(1, 400),
        "How many days in the past usage may lie that is posted (`POST /admin/v1/usage`).",
        default=35,
    )
    raw_retention_months: int = _setting(
        as_whole(0, 1200),
        "Full months that single calls are kept beyond the present one; their sums stay. 0: for ever.",
        default=0,
    )
    proof_clocks: bool = _setting(
        as_flag,
        "Set by `tollway prove-metering` for the gateway it starts; no other starts with it.",
        default=False,
        shown="no",
    )

    @property
    def any_keys(self) -> bool:
        """Whether keys may have any format."""
        return self.foreign_keys or self.keys_file is not None

    @property
    def public_url(self) -> str:
        """The public port as one can call it from this machine."""
        url = self.listen.url
        return url.replace("http:", "https:", 1) if self.tls_cert is not None else url

    @property
    def control_url(self) -> str:
        """The control port as one can call it from this machine."""
        url = self.control.url
        return url.replace("http:", "https:", 1) if self.control_tls_cert is not None else url

    @property
    def portal_base_url(self) -> str:
        """The portal as customers reach it, without a slash at the end."""
        return (self.portal_url or self.portal.url).rstrip("/")


@dataclass(frozen=True, slots=True)
class Declared:
    """A setting as the documentation shows it."""

    name: str  # with the prefix
    default: str
    about: str


DECLARED = tuple(
    Declared(f"{PREFIX}{one.name.upper()}", one.metadata["shown"], one.metadata["about"])
    for one in fields(Settings)
)
