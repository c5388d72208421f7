"""From the environment and the flags to `Settings`: every problem at once, and no secret repeated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from gateway.errors import StartupError
from gateway.settings.address import Address
from gateway.settings.declared import DECLARED, MAIL_FROM, PREFIX, Settings

MB_PER_WORKER = 32
"""Two segments of a journal: one that is written, one that is booked."""


class SettingsError(StartupError):
    """The environment or the flags can not be used. `problems` holds one line for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


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
    is_guarded = settings.admin_token is not None and settings.control_tls_cert is not None
    if not (settings.control.is_loopback or settings.control_wide or is_guarded):
        problems.append(
            f"{_source('control', given)} {settings.control} is open to the network: "
            f"set {PREFIX}ADMIN_TOKEN, {PREFIX}CONTROL_TLS_CERT and {PREFIX}CONTROL_TLS_KEY, "
            f"or {PREFIX}CONTROL_WIDE=yes if something else guards it"
        )
    for name in ("tls", "control_tls"):
        if (getattr(settings, f"{name}_cert") is None) is not (getattr(settings, f"{name}_key") is None):
            cert, key = f"{PREFIX}{name.upper()}_CERT", f"{PREFIX}{name.upper()}_KEY"
            problems.append(f"{cert} and {key} go together: set both or neither")
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
