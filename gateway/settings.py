"""Process facts, read once from the environment. Flags of the command line win.

Only the roof reads settings; rooms below are handed what they need. Each field of `Settings` declares its
type, default and meaning once, and `docs/settings.md` is tested against it.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from gateway.errors import StartupError
from gateway.model.networks import NO_NETWORKS, Networks, parse_networks
from gateway.people.mail_server import MailServer, parse_sender
from gateway.setting_texts import as_choice, as_flag, as_key_prefix, as_path, as_secret, as_url, as_whole

PREFIX = "TOLLWAY_"
MB_PER_WORKER = 32
"""Two segments of a journal: one that is written, one that is booked."""
MAIL_FROM = "tollway@localhost"


class SettingsError(StartupError):
    """The environment or the flags can not be used. `problems` holds one line for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class Address:
    """Where a port is bound."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port`, `[::1]:8080` or `:8080` (every interface). ValueError says what is wrong."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise ValueError("must be host:port, like 127.0.0.1:8080")
        if host.startswith("[") and host.endswith("]"):
            try:
                return cls(str(ipaddress.IPv6Address(host[1:-1])), int(port))
            except ValueError:
                raise ValueError("must have an IPv6 address in the brackets, like [::1]:8080") from None
        if ":" in host:
            raise ValueError("must have brackets around an IPv6 address, like [::1]:8080")
        if not re.fullmatch(r"[A-Za-z0-9._-]*", host):
            raise ValueError("must be host:port, like 127.0.0.1:8080")
        return cls(host or "0.0.0.0", int(port))  # noqa: S104 - `:8080` asks for every interface

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """An address to open from this machine."""
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{Address(local, self.port)}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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
        as_url("redis", "rediss", "unix"),
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
        as_whole(1, 1_000_000), "Client connections of one worker from one address.", default=4096
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
    control_wide: bool = _setting(
        as_flag,
        "`yes` lets the control port listen beyond loopback without an admin token.",
        default=False,
        shown="no",
    )

    reconcile_interval_s: int = _setting(
        as_whole(0, 86_400),
        "Seconds between two comparisons of quota counters with the ledger; 0: never.",
        default=300,
    )
    proof_clocks: bool = _setting(
        as_flag,
        "Set by `tollway prove-metering` for the gateway it starts; no other starts with it.",
        default=False,
        shown="no",
    )

    @property
    def public_url(self) -> str:
        """The public port as one can call it from this machine."""
        url = self.listen.url
        return url.replace("http:", "https:", 1) if self.tls_cert is not None else url

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


def read_settings(environ: Mapping[str, str], flags: Mapping[str, str | None] | None = None) -> Settings:
    """The settings of this process. `flags` are texts by field name, None where not given; they win.

    An empty variable counts as unset. SettingsError lists every problem at once and repeats no secret.
    """
    given = {name: text for name, text in (flags or {}).items() if text is not None}
    problems = _unknown(environ)
    values: dict[str, Any] = {}
    for one in fields(Settings):
        text = given.get(one.name, environ.get(f"{PREFIX}{one.name.upper()}", ""))
        if not text and one.name not in given:
            continue
        try:
            values[one.name] = one.metadata["parse"](text)
        except ValueError as error:
            problems.append(f"{_source(one.name, given)} {error}")
    settings = Settings(**values)
    problems += _conflicts(settings, given)
    if problems:
        raise SettingsError(problems)
    return settings


def _source(name: str, given: Mapping[str, str]) -> str:
    return f"--{name.replace('_', '-')}" if name in given else f"{PREFIX}{name.upper()}"


def _unknown(environ: Mapping[str, str]) -> list[str]:
    known = [one.name for one in DECLARED]
    problems = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists those there are."
            problems.append(f"{name} is not a setting: {hint}")
    return problems


def _conflicts(settings: Settings, given: Mapping[str, str]) -> list[str]:
    problems = []
    if not (settings.control.is_loopback or settings.control_wide or settings.admin_token):
        problems.append(
            f"{_source('control', given)} {settings.control} is open to the network: "
            f"set {PREFIX}ADMIN_TOKEN, or {PREFIX}CONTROL_WIDE=yes if something else guards it"
        )
    if (settings.tls_cert is None) is not (settings.tls_key is None):
        problems.append(f"{PREFIX}TLS_CERT and {PREFIX}TLS_KEY go together: set both or neither")
    if settings.smtp_url is not None and settings.mail_from == MAIL_FROM:
        problems.append(f"{PREFIX}SMTP_URL needs {PREFIX}MAIL_FROM: an address that may send there")
    if settings.journal_max_mb < MB_PER_WORKER * settings.workers:
        problems.append(
            f"{_source('journal_max_mb', given)} must be at least {MB_PER_WORKER} for each of "
            f"{settings.workers} workers, got {settings.journal_max_mb}"
        )
    if settings.proxy_protocol == "trusted" and not settings.trusted_proxies:
        problems.append(
            f"{PREFIX}PROXY_PROTOCOL is `trusted` and nobody is: set {PREFIX}TRUSTED_PROXIES to the ranges "
            "of the load balancers, or write `all` if nobody else can reach the port"
        )
    taken: dict[Address, str] = {}
    for name in ("listen", "control", "portal"):
        address: Address = getattr(settings, name)
        if address.port and address in taken:
            problems.append(f"{_source(name, given)} {address} is already taken by {taken[address]}")
        taken.setdefault(address, _source(name, given))
    return problems
