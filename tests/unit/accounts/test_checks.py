"""What may be stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts import checks
from gateway.errors import Invalid


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("nothing", ""),
        ("only spaces", "   "),
        ("too long", "x" * 201),
        ("a line break that would split a header", "Ada\r\nTollway-Tier: team"),
        ("a lone line feed", "Ada\n"),
        ("a NUL", "Ada\0"),
        ("a C1 control", "Ada\x85"),
        ("a line separator", "Ada\u2028"),
        ("half a character", "Ada\ud800"),
    ],
)
def test_names_that_are_refused(case: str, name: str) -> None:
    with pytest.raises(Invalid) as caught:
        checks.check_name("name", name)
    assert caught.value.field == "name"
    assert "Ada" not in str(caught.value)


@pytest.mark.parametrize("name", ["x", "x" * 200, "Ada Lovelace & Söhne", "株式会社", "a\u200db"])
def test_names_that_are_taken(name: str) -> None:
    assert checks.check_name("name", name) == name


@given(st.text())
def test_no_name_that_passes_can_break_a_line(name: str) -> None:
    try:
        checks.check_name("name", name)
    except Invalid:
        return
    assert len(name.splitlines()) == 1
    assert "\0" not in name


def test_a_key_may_go_without_a_name() -> None:
    assert checks.check_name("name", "", may_be_empty=True) == ""


@pytest.mark.parametrize(
    ("case", "tier", "fine"),
    [
        ("as in the policies", "team-2_eu", True),
        ("a header's end", "team\r\n", False),
        ("a trailing line feed", "team\n", False),
        ("upper case", "Team", False),
        ("nothing", "", False),
        ("too long", "t" * 64, False),
    ],
)
def test_tiers(case: str, tier: str, fine: bool) -> None:
    if fine:
        assert checks.check_tier(tier) == tier
    else:
        with pytest.raises(Invalid):
            checks.check_tier(tier)


@pytest.mark.parametrize(
    ("value", "kind", "is_one"),
    [
        ("acct_0123456789abcdef", "acct", True),
        ("key_0123456789abcdef", "acct", False),
        ("acct_0123456789abcde\0", "acct", False),
        ("acct_0123456789abcdef\n", "acct", False),
        ("acct_short", "acct", False),
        ("acct_" + "a" * 1000, "acct", False),
    ],
)
def test_public_ids(value: str, kind: str, is_one: bool) -> None:
    assert checks.is_public_id(value, kind) is is_one


@pytest.mark.parametrize("field", ["only_networks", "not_networks"])
@pytest.mark.parametrize(
    ("case", "given", "kept"),
    [
        ("none", (), None),
        ("a range and an address", ("192.0.2.0/24", "2001:DB8::1"), ["192.0.2.0/24", "2001:db8::1/128"]),
        ("one in two spellings", ("192.0.2.1", "192.0.2.1/32"), ["192.0.2.1/32"]),
        ("IPv4 in IPv6 is IPv4", ("::ffff:192.0.2.0/120", "::ffff:a00:1"), ["10.0.0.1/32", "192.0.2.0/24"]),
        ("everything", ("0.0.0.0/0", "::/0"), ["0.0.0.0/0", "::/0"]),
        ("as many as may be", tuple(f"10.0.0.{one}" for one in range(100)), 100),
    ],
)
def test_networks(field: str, case: str, given: tuple[str, ...], kept: list[str] | int | None) -> None:
    found = checks.check_networks(field, given)
    assert (len(found or ()) if isinstance(kept, int) else found) == kept, case


@pytest.mark.parametrize("field", ["only_networks", "not_networks"])
@pytest.mark.parametrize(
    ("case", "network", "said"),
    [
        ("a name", "localhost", "must be addresses or ranges like 192.0.2.0/24"),
        ("nothing", "", "must be addresses or ranges"),
        ("bits behind the prefix", "192.0.2.1/24", "with no bits behind the prefix"),
        ("bits behind it, IPv4 in IPv6", "::ffff:192.0.2.1/120", "with no bits behind the prefix"),
        ("a prefix too long", "192.0.2.0/33", "must be addresses or ranges"),
        ("a netmask", "10.0.0.0/255.0.0.0", "must be addresses or ranges"),
        ("a zone", "fe80::1%eth0", "must be addresses or ranges"),
        ("a line end", "192.0.2.1\n", "must be addresses or ranges"),
    ],
)
def test_what_is_no_network_is_refused_in_words(field: str, case: str, network: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        checks.check_networks(field, ("10.0.0.0/8", network))
    assert caught.value.field == field, case
    assert said in str(caught.value)


@pytest.mark.parametrize("field", ["only_networks", "not_networks"])
def test_more_networks_than_anybody_needs(field: str) -> None:
    with pytest.raises(Invalid) as caught:
        checks.check_networks(field, [f"10.0.0.{one}" for one in range(101)])
    assert (caught.value.field, "at most 100" in str(caught.value)) == (field, True)
