"""Whatever the admin API does can be typed, with all that can be said about it."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from gateway.controlplane import (
    account_members_api,
    accounts_api,
    enforcement_api,
    entries_api,
    explanations,
    keys_api,
    operators_api,
    overrides_api,
    period_api,
    policies_api,
    quota_events_api,
    snapshot_api,
    usage_api,
)
from tests.house.test_docs import ALL_COMMANDS

ROOT = Path(__file__).parents[2]
ONE_ACCOUNT = "/accounts/{account}"

MIRRORS = {
    "GET /accounts": "account list",
    "POST /accounts": "account create",
    f"GET {ONE_ACCOUNT}": "account show",
    f"PATCH {ONE_ACCOUNT}": "account set",
    f"GET {ONE_ACCOUNT}/overrides": "account override list",
    f"PUT {ONE_ACCOUNT}/overrides/{{name}}": "account override set",
    f"DELETE {ONE_ACCOUNT}/overrides/{{name}}": "account override clear",
    f"PUT {ONE_ACCOUNT}/keys/{{key}}/overrides/{{name}}": "account override set",
    f"DELETE {ONE_ACCOUNT}/keys/{{key}}/overrides/{{name}}": "account override clear",
    f"GET {ONE_ACCOUNT}/keys": "key list",
    f"POST {ONE_ACCOUNT}/keys": "key create",
    f"POST {ONE_ACCOUNT}/keys/import": "key import",
    "GET /keys/{key}": "key show",
    "PATCH /keys/{key}": "key set",
    "POST /keys/{key}/revoke": "key revoke",
    "POST /keys/{key}/rotate": "key rotate",
    f"GET {ONE_ACCOUNT}/members": "member list",
    f"GET {ONE_ACCOUNT}/members/{{member}}": "member show",
    f"GET {ONE_ACCOUNT}/invitations/{{invitation}}": "member show",
    f"PATCH {ONE_ACCOUNT}/members/{{member}}": "member role",
    f"DELETE {ONE_ACCOUNT}/members/{{member}}": "member remove",
    f"GET {ONE_ACCOUNT}/invitations": "member list",
    f"POST {ONE_ACCOUNT}/invitations": "member invite",
    f"DELETE {ONE_ACCOUNT}/invitations/{{invitation}}": "member remove",
    "GET /usage": "usage",
    "GET /usage/events": "usage",
    f"GET {ONE_ACCOUNT}/period": "account period",
    "POST /usage": "usage post",
    "POST /usage/batch": "usage post",
    "POST /usage/corrections": "usage correct",
    "GET /usage/entries": "usage entries",
    "GET /quota-events": "usage quota-events",
    "GET /tokens": "token list",
    "POST /tokens": "token create",
    "GET /tokens/{token}": "token show",
    "POST /tokens/{token}/revoke": "token revoke",
    "GET /audit": "audit",
    "GET /enforcement": "enforcement show",
    "PUT /enforcement": "enforcement set",
    "POST /explain": "explain",
    "GET /explain/{request_id}": "explain",
    "GET /policies": "policies show",
    "POST /policies/check": "policies check",
    "PUT /policies": "policies apply",
    "GET /policies/history": "policies history",
    "GET /workers": "workers",
    "GET /upstreams": "upstreams",
}
"""Every address of the admin API and what to type instead."""

NOT_TYPED: dict[str, str] = {}
"""Addresses without a command, and why."""

SAID_OTHERWISE = {
    "start": "--from",
    "end": "--to",
    "bucket": "--by",
    "corrections": "--no-corrections",
    "format": "--csv",
    "expires_in_s": "--days",
    "only_routes": "--route",
    "only_methods": "--method",
    "only_networks": "--network",
    "not_networks": "--not-network",
    "scopes": "--scope",
    "headers": "--header",
    "files": "dir",
}
"""Fields whose option or argument is called otherwise, or is about the same."""

WHOLE = "the list is shown whole"
FIELDS: list[tuple[type[BaseModel], str, dict[str, str]]] = [
    (accounts_api.AccountPage, "account list", {}),
    (accounts_api.NewAccount, "account create", {}),
    (accounts_api.AccountChange, "account set", {"tier": "account set-tier"}),
    (overrides_api.NewOverride, "account override set", {}),
    (keys_api.KeyPage, "key list", {}),
    (operators_api.TokenPage, "token list", {}),
    (account_members_api.MembersQuestion, "member list", {"after": WHOLE, "limit": WHOLE}),
    (overrides_api.OverridesPage, "account override list", {"after": WHOLE, "limit": WHOLE}),
    (snapshot_api.WorkersQuestion, "workers", {"after": WHOLE, "limit": WHOLE}),
    (snapshot_api.UpstreamsQuestion, "upstreams", {"after": WHOLE, "limit": WHOLE, "up": "--down"}),
    (keys_api.NewKey, "key create", {}),
    (keys_api.ImportedKey, "key import", {}),
    (keys_api.KeyChange, "key set", {}),
    (keys_api.Rotation, "key rotate", {}),
    (account_members_api.FirstMember, "member invite", {}),
    (period_api.PeriodQuestion, "account period", {}),
    (usage_api.UsageQuestion, "usage", {"after": WHOLE, "limit": WHOLE}),
    (usage_api.EventsQuestion, "usage", {"limit": "--events"}),
    (entries_api.NewEvent, "usage post", {}),
    (entries_api.NewCorrection, "usage correct", {}),
    (entries_api.EntriesQuestion, "usage entries", {}),
    (quota_events_api.QuotaEventsQuestion, "usage quota-events", {}),
    (operators_api.NewToken, "token create", {}),
    (operators_api.Changes, "audit", {}),
    (enforcement_api.NewSwitch, "enforcement set", {"expires_in_s": "--minutes"}),
    (explanations.Question, "explain", {}),
    (policies_api.PolicyFiles, "policies apply", {}),
    (policies_api.HistoryPage, "policies history", {}),
]
"""What is sent to the API, the command it is said to, and what is said in another way there."""


def addresses() -> list[str]:
    """Every address of the admin API, by its documentation, which the router is tested against."""
    text = (ROOT / "docs" / "admin-api.md").read_text()
    found = re.findall(r"^### `([A-Z]+) /admin/v1(/[^`]*)`$", text, re.MULTILINE)
    return [f"{method} {path}" for method, path in found]


def command(words: str) -> click.Command:
    if words == "usage":  # a group that is a command, too
        group = ALL_COMMANDS_AND_GROUPS["tollway usage"]
        assert isinstance(group, click.Group)
        return group
    return ALL_COMMANDS[f"tollway {words}"]


def _with_groups() -> dict[str, click.Command]:
    from gateway.cli.usage import usage  # noqa: PLC0415 - the one group of its kind

    return {**ALL_COMMANDS, "tollway usage": usage}


ALL_COMMANDS_AND_GROUPS = _with_groups()


def test_every_address_of_the_admin_api_can_be_typed() -> None:
    assert sorted(addresses()) == sorted({**MIRRORS, **NOT_TYPED})


@pytest.mark.parametrize("words", sorted(set(MIRRORS.values())))
def test_what_can_be_typed_prints_json_for_scripts(words: str) -> None:
    options = {name for one in command(words).params for name in one.opts}
    assert "--json" in options


@pytest.mark.parametrize(
    ("sent", "words", "otherwise"), FIELDS, ids=lambda one: getattr(one, "__name__", None)
)
def test_whatever_can_be_sent_can_be_said(
    sent: type[BaseModel], words: str, otherwise: dict[str, str]
) -> None:
    known = {name for one in command(words).params for name in (*one.opts, one.name)}
    for field in sent.model_fields:
        if field in otherwise:
            continue
        option = SAID_OTHERWISE.get(field, f"--{field.replace('_', '-')}")
        assert option in known or field in known, f"tollway {words} has nothing for `{field}`"
